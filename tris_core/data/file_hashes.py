"""SHA-256 of many files, computed again only for those that may have changed."""

import hashlib
import os
import stat
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from tris_core.runtime.errors import InputError
from tris_core.runtime.files import read_sealed_json, sha256_of_file, write_sealed_json
from tris_core.runtime.processes import cores

MOST_BYTES = 2**30  # of a picture read into memory whole
RECENT = 2.0  # seconds: the coarsest clock of a file system in use (FAT)


class Hashed(NamedTuple):
    """A file's size (bytes), times of its last change of content and of anything (ns), inode, and SHA-256 (hex)."""

    size: int
    mtime: int
    ctime: int
    inode: int
    sha256: str


def file_hashes(folder: Path, names: Sequence[str], kept: Path) -> list[str | None]:
    """SHA-256 (hex) of files of `folder`, in the order of `names`; None for what is missing or cannot be read.

    The file `kept` remembers each hash with a stamp: size, mtime, ctime and inode. A file whose stamp is still the same
    is not read again, so a few bits that decayed on the disk are not seen, nor a change made together with the clock. All
    else is: another stamp only costs another reading, and so does a `kept` that is missing or damaged.
    """
    known = _read(kept)
    stamps = [_stamp(folder / name) for name in names]
    changed = [
        name
        for name, now in zip(names, stamps, strict=True)
        if now is not None and (name not in known or known[name][:-1] != now)
    ]
    with ThreadPoolExecutor(cores()) as pool:
        hashed = dict(
            zip(changed, pool.map(lambda name: hash_file(folder / name), changed), strict=True)
        )
    present = [name for name, now in zip(names, stamps, strict=True) if now is not None]
    found = {name: hashed[name] if name in hashed else known[name] for name in present}
    if hashed or found.keys() != known.keys():
        keep_hashes(kept, {name: entry for name, entry in found.items() if entry})
    return [entry.sha256 if (entry := found.get(name)) else None for name in names]


def hash_file(path: Path) -> Hashed | None:
    """A file's hash, and its stamp from before it was read; None if it is missing or cannot be read."""
    try:
        before = _stamp(path)
        return None if before is None else _hashed(before, sha256_of_file(path))
    except OSError:
        return None


def read_hashed(path: Path) -> tuple[Hashed, bytes]:
    """As `hash_file`, and the bytes that were hashed. Raises `InputError` for what cannot be read or is over `MOST_BYTES`."""
    try:
        before = _stamp(path)
        if before is None:
            raise InputError(f"{path}: is missing or no file; put it back")
        if before[0] > MOST_BYTES:
            raise InputError(
                f"{path}: has {before[0]:,} bytes, more than {MOST_BYTES:,}; save it as JPEG or PNG"
            )
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); put it back") from error
    return _hashed(before, hashlib.sha256(content).hexdigest()), content


def _hashed(before: tuple[int, int, int, int], sha256: str) -> Hashed:
    """The stamp of a file that was written just now is left empty: what is written next may fall into the same tick of the
    file system's clock.
    """
    recent = time.time_ns() - before[1] < RECENT * 1e9
    return Hashed(*((0, 0, 0, 0) if recent else before), sha256)


def keep_hashes(kept: Path, found: Mapping[str, Hashed]) -> None:
    """Write the file that `file_hashes` remembers hashes in."""
    write_sealed_json(kept, {"files": found})


def _read(kept: Path) -> dict[str, Hashed]:
    """What was kept; nothing if the file is not as it was written."""
    try:
        return {name: Hashed(*entry) for name, entry in read_sealed_json(kept)["files"].items()}
    except (OSError, InputError):
        return {}


def _stamp(path: Path) -> tuple[int, int, int, int] | None:
    """None for what is no regular file: reading a pipe would wait for ever."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return None
    if not stat.S_ISREG(found.st_mode):
        return None
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino
