"""SHA-256 of many files, computed again only for those that may have changed."""

import hashlib
import json
import os
import stat
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from filelock import FileLock

from tris_core.runtime.files import replacing, sha256_of_file
from tris_core.runtime.processes import cores

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
        keep_hashes(kept, found)
    return [entry.sha256 if (entry := found.get(name)) else None for name in names]


def hash_file(path: Path) -> Hashed | None:
    """A file's hash, and its stamp from before it was read; None if it is missing or cannot be read.

    The stamp of a file that was written just now is left empty: what is written next may fall into the same tick of the
    file system's clock.
    """
    try:
        if (before := _stamp(path)) is None:
            return None
        recent = time.time_ns() - before[1] < RECENT * 1e9
        return Hashed(*((0, 0, 0, 0) if recent else before), sha256_of_file(path))
    except OSError:
        return None


def keep_hashes(kept: Path, found: Mapping[str, Hashed | None]) -> None:
    """Write the file that `file_hashes` remembers hashes in."""
    content = json.dumps(found)
    kept.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{kept}.lock"), replacing(kept) as temporary:
        temporary.write_text(f"{_digest(content)}\n{content}")


def _read(kept: Path) -> dict[str, Hashed]:
    """What was kept; nothing if the file is not as it was written."""
    try:
        digest, content = kept.read_text().split("\n", 1)
    except (OSError, ValueError):
        return {}
    if digest != _digest(content):
        return {}
    return {name: Hashed(*entry) for name, entry in json.loads(content).items() if entry}


def _digest(content: str) -> str:
    return hashlib.sha256(content.encode()).hexdigest()


def _stamp(path: Path) -> tuple[int, int, int, int] | None:
    """None for what is no regular file: reading a pipe would wait for ever."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return None
    if not stat.S_ISREG(found.st_mode):
        return None
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino
