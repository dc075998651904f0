"""SHA-256 of many files, recomputed only for files that may have changed."""

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

MOST_BYTES = 2**30  # largest picture that is read into memory whole
RECENT = 2.0  # seconds; the coarsest file-system clock in use (FAT)


class Hashed(NamedTuple):
    """A file's stamp and hash: size (bytes), mtime and ctime (ns), inode, SHA-256 (hex)."""

    size: int
    mtime: int
    ctime: int
    inode: int
    sha256: str


def file_hashes(folder: Path, names: Sequence[str], kept: Path) -> list[str | None]:
    """SHA-256 (hex) of files in `folder`, in the order of `names`; None for unreadable ones.

    The file `kept` stores each hash with a stamp of size, mtime, ctime and inode. A file with the
    same stamp is not read again. So bit rot is not noticed, nor a change that also sets back the
    clock. A new stamp, or a missing or damaged `kept`, costs only another reading.
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
    """A file's hash and its stamp from before it was read; None if it cannot be read."""
    try:
        before = _stamp(path)
        return None if before is None else _hashed(before, sha256_of_file(path))
    except OSError:
        return None


def read_hashed(path: Path) -> tuple[Hashed, bytes]:
    """As `hash_file`, with the bytes that were hashed.

    Raises `InputError` if the file cannot be read or is larger than `MOST_BYTES`.
    """
    try:
        before = _stamp(path)
        if before is None:
            raise InputError(f"{path}: is missing or no file; put it back")
        if before[0] > MOST_BYTES:
            problem = f"has {before[0]:,} bytes, more than {MOST_BYTES:,}"
            raise InputError(f"{path}: {problem}; save it as JPEG or PNG")
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); put it back") from error
    return _hashed(before, hashlib.sha256(content).hexdigest()), content


def _hashed(before: tuple[int, int, int, int], sha256: str) -> Hashed:
    """A hash with its stamp, which is left empty for a file written just now.

    The next change may fall into the same tick of the file system's clock.
    """
    recent = time.time_ns() - before[1] < RECENT * 1e9
    return Hashed(*((0, 0, 0, 0) if recent else before), sha256)


def keep_hashes(kept: Path, found: Mapping[str, Hashed]) -> None:
    """Write the file in which `file_hashes` stores hashes."""
    write_sealed_json(kept, {"files": found})


def _read(kept: Path) -> dict[str, Hashed]:
    """The stored hashes; none if the file is damaged."""
    try:
        return {name: Hashed(*entry) for name, entry in read_sealed_json(kept)["files"].items()}
    except (OSError, InputError):
        return {}


def _stamp(path: Path) -> tuple[int, int, int, int] | None:
    """None if it is not a regular file: reading a pipe would block forever."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return None
    if not stat.S_ISREG(found.st_mode):
        return None
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino
