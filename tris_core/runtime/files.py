"""Outputs that are either whole or absent, even after a power cut, and digests of files."""

import ctypes
import errno
import glob
import hashlib
import json
import os
import re
import shutil
import socket
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from tris_core.runtime.errors import InputError

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
HOST = socket.gethostname()[:64]
NO_SEAL = "0" * 64
AT_FDCWD, RENAME_EXCHANGE = -100, 2  # arguments of Linux's renameat2
# the key, what JSON, Parquet or zip write between, and the value
_SEAL = re.compile(rb"seal\W{1,4}([0-9a-f]{64})")
_TAIL = 2**16  # bytes at the end of a file that are searched for its seal
_CHUNK = 2**20


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary sibling to write to. It replaces `path` if the block ends without an error.

    It may be a file or a folder. Its bytes are on the disk before it is renamed, so a power cut
    leaves either the old output or the new one. A folder is swapped with the old one in one step.
    Where the file system cannot do that, the old one is renamed first. The sibling's name is
    unique to this process, so writers of one path do not disturb each other, and the last one wins.

    Raises `InputError` if `path` cannot be created or the disk is full.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _sweep(path)
    except OSError as error:
        raise _cannot_create(path, error) from error
    temporary = _sibling(path)
    try:
        with disk_full_as_input_error(path):
            yield temporary
            _sync_tree(temporary)
            old = _sibling(path)
            if not (os.path.isdir(path) and _exchange(temporary, path)):
                if os.path.isdir(path):
                    os.rename(path, old)
                os.replace(temporary, path)
            _sync(path.parent)
            _remove(old)
    except OSError as error:
        if not str(error.filename).startswith(str(temporary)):
            raise
        raise _cannot_create(path, error) from error
    finally:
        _remove(temporary)


def check_folder(folder: Path) -> None:
    """Create a folder if there is none. Raises `InputError` unless files can be created in it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise _cannot_create(folder, error) from error


@contextmanager
def temporary_folder(path: Path) -> Iterator[Path]:
    """Yield an empty sibling of `path` that only this process uses. It is removed at the end.

    Siblings left by killed processes are removed first.
    """
    _sweep(path)
    folder = _sibling(path)
    try:
        folder.mkdir()
        yield folder
    finally:
        _remove(folder)


def _exchange(one: Path, other: Path) -> bool:
    """Swap the names of two files or folders in one step.

    Returns False if this system or its file system cannot do that.
    """
    try:
        swap = ctypes.CDLL(None).renameat2
    except AttributeError:
        return False
    return swap(AT_FDCWD, os.fsencode(one), AT_FDCWD, os.fsencode(other), RENAME_EXCHANGE) == 0


def _prefix(path: Path) -> str:
    """Prefix of temporary siblings of `path` on this host, short enough for any file system."""
    name = path.name.encode(errors="replace")[:100].decode(errors="ignore")
    return f".{name}.{HOST}."


def _sibling(path: Path) -> Path:
    return path.with_name(f"{_prefix(path)}{os.getpid()}.{os.urandom(4).hex()}.tmp")


def _sweep(path: Path) -> None:
    """Remove siblings left by killed processes of this host."""
    for left in path.parent.glob(f"{glob.escape(_prefix(path))}*.tmp"):
        pid = left.name.split(".")[-3]
        if pid.isdecimal() and not _is_running(int(pid)):
            _remove(left)


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # it belongs to another user
        return True
    return True


def _sync_tree(path: Path) -> None:
    if path.is_dir():
        for folder, _, names in os.walk(path):
            for name in names:
                _sync(Path(folder) / name)
            _sync(Path(folder))
    else:
        _sync(path)


def _sync(path: Path) -> None:
    """Wait until a file's bytes, or the names in a folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _cannot_create(path: Path, error: OSError) -> InputError:
    return InputError(
        f"{path}: cannot be created ({os.strerror(error.errno or 0)}); name another place"
    )


@contextmanager
def disk_full_as_input_error(path: Path) -> Iterator[None]:
    """Raise `InputError` if a write to `path` fails for a full disk, a quota or a limit."""
    try:
        yield
    except OSError as error:
        if error.errno not in FULL:
            raise
        fix = "free some or raise the limit, then run it again; finished work is kept"
        raise InputError(
            f"{path}: no space to write it ({os.strerror(error.errno)}); {fix}"
        ) from error


def _remove(path: Path) -> None:
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path, ignore_errors=True)
    elif os.path.lexists(path):
        path.unlink(missing_ok=True)


def write_json(path: Path, content: Any) -> None:
    """Write indented JSON with a final newline. Keys keep their order."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n")


def write_sealed_json(path: Path, content: dict[str, Any]) -> None:
    """`write_json` with `seal` as the last key, which `read_sealed_json` checks."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps({**content, "seal": NO_SEAL}, indent=2) + "\n")
        seal(temporary)


def read_sealed_json(path: Path, fix: str = "copy it again") -> dict[str, Any]:
    """Read a file of `write_sealed_json`; the result has no `seal` key.

    Raises `InputError`, which ends with `fix`, if the file is damaged or not such a file.
    """
    check_seal(path, fix)
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: is not JSON ({error}); {fix}") from error
    if not isinstance(content, dict) or content.pop("seal", None) is None:
        raise InputError(f"{path}: is not an object with a seal; {fix}")
    return content


def seal(path: Path) -> None:
    """Replace the 64 zeros (`NO_SEAL`) under the key `seal` with the file's own SHA-256.

    The digest is that of the file with the zeros. JSON, Parquet metadata and zip comments can all
    contain a seal.
    """
    with path.open("r+b") as file:
        found = _find_seal(file)
        if found is None or found[1] != NO_SEAL:
            raise ValueError(f"{path}: no seal to fill in")
        digest = _digest(file, found[0])
        file.seek(found[0])
        file.write(digest.encode())


def check_seal(path: Path, fix: str) -> None:
    """Raise `InputError`, which ends with `fix`, if a file has no seal or does not match it."""
    with path.open("rb") as file:
        found = _find_seal(file)
        if found is None:
            raise InputError(
                f"{path}: has no seal; it is damaged, edited or from an older version: {fix}"
            )
        if _digest(file, found[0]) != found[1]:
            raise InputError(f"{path}: damaged (its seal does not match); {fix}")


def has_seal(path: Path) -> bool:
    """Whether a file has a seal."""
    with path.open("rb") as file:
        return _find_seal(file) is not None


def _find_seal(file: BinaryIO) -> tuple[int, str] | None:
    """Position and value of the last seal near the end of a file."""
    start = max(0, file.seek(0, os.SEEK_END) - _TAIL)
    file.seek(start)
    found = list(_SEAL.finditer(file.read()))
    return (start + found[-1].start(1), found[-1].group(1).decode()) if found else None


def _digest(file: BinaryIO, at: int) -> str:
    """SHA-256 (hex) of an open file with the 64 bytes at `at` replaced by zeros."""
    digest = hashlib.sha256()
    file.seek(0)
    left = at
    while left:
        digest.update(chunk := file.read(min(left, _CHUNK)))
        left -= len(chunk)
    digest.update(NO_SEAL.encode())
    file.seek(at + len(NO_SEAL))
    while chunk := file.read(_CHUNK):
        digest.update(chunk)
    return digest.hexdigest()


def sha256_of_file(path: Path) -> str:
    """SHA-256 (hex) of a file's bytes, as `sha256sum` prints it."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_of(paths: Iterable[Path]) -> str:
    """One SHA-256 (hex) over the names and bytes of files, in the order given."""
    digest = hashlib.sha256()
    for path in paths:
        digest.update(path.name.encode() + b"\0")
        digest.update(bytes.fromhex(sha256_of_file(path)))
    return digest.hexdigest()
