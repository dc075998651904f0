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
AT_FDCWD, RENAME_EXCHANGE = -100, 2  # of Linux' renameat2
_SEAL = re.compile(
    rb"seal\W{1,4}([0-9a-f]{64})"
)  # the key, what JSON, Parquet or zip put between, the value
_TAIL = 2**16  # bytes at the end of a file in which its seal is looked for
_CHUNK = 2**20


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary sibling to write a file or a folder to; it replaces `path` when the block ends without error.

    What was written is on the disk before it gets its name, so a power cut leaves the old output or the new one. A folder
    changes places with the old one in one step; where the file system cannot do that, the old one is moved aside first.
    The sibling's name is this process's own, so writers of one path do not disturb each other; the last one wins.
    Raises `InputError` if `path` cannot be created or the disk is full.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _sweep(path)
    except OSError as error:
        raise _cannot_create(path, error) from error
    temporary = _sibling(path)
    try:
        with plain_when_full(path):
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
    """Make a folder if there is none, and raise `InputError` unless files can be created in it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise _cannot_create(folder, error) from error


@contextmanager
def temporary_folder(path: Path) -> Iterator[Path]:
    """An empty sibling of `path` that only this process uses, removed at the end.

    Siblings of killed processes are removed first.
    """
    _sweep(path)
    folder = _sibling(path)
    try:
        folder.mkdir()
        yield folder
    finally:
        _remove(folder)


def _exchange(one: Path, other: Path) -> bool:
    """Let two files or folders swap names in one step; whether this system and its file system could do that."""
    try:
        swap = ctypes.CDLL(None).renameat2
    except AttributeError:
        return False
    return swap(AT_FDCWD, os.fsencode(one), AT_FDCWD, os.fsencode(other), RENAME_EXCHANGE) == 0


def _prefix(path: Path) -> str:
    """How siblings of `path` that processes of this host write begin; short enough for any file system."""
    name = path.name.encode(errors="replace")[:100].decode(errors="ignore")
    return f".{name}.{HOST}."


def _sibling(path: Path) -> Path:
    return path.with_name(f"{_prefix(path)}{os.getpid()}.{os.urandom(4).hex()}.tmp")


def _sweep(path: Path) -> None:
    """Remove siblings left by processes of this host that were killed."""
    for left in path.parent.glob(f"{glob.escape(_prefix(path))}*.tmp"):
        pid = left.name.split(".")[-3]
        if pid.isdecimal() and not _is_running(int(pid)):
            _remove(left)


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # somebody else's
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
def plain_when_full(path: Path) -> Iterator[None]:
    """`InputError` for a disk that is full, or a quota or limit reached, while something is written at `path`."""
    try:
        yield
    except OSError as error:
        if error.errno not in FULL:
            raise
        fix = "free some or raise the limit, then run it again: what is finished stays"
        raise InputError(
            f"{path}: no space to write it ({os.strerror(error.errno)}); {fix}"
        ) from error


def _remove(path: Path) -> None:
    if os.path.isdir(path):
        shutil.rmtree(path, ignore_errors=True)
    elif os.path.lexists(path):
        path.unlink(missing_ok=True)


def write_json(path: Path, content: Any) -> None:
    """Indented JSON with a final newline, keys in the order given."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n")


def write_sealed_json(path: Path, content: dict[str, Any]) -> None:
    """`write_json` with a last key `seal`, which `read_sealed_json` checks."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps({**content, "seal": NO_SEAL}, indent=2) + "\n")
        seal(temporary)


def read_sealed_json(path: Path, fix: str = "copy it again") -> dict[str, Any]:
    """The content of such a file, without the seal. Raises as `check_seal` does, and for what is no JSON object."""
    check_seal(path, fix)
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: is not JSON ({error}); {fix}") from error
    if not isinstance(content, dict) or content.pop("seal", None) is None:
        raise InputError(f"{path}: is no object with a seal; {fix}")
    return content


def seal(path: Path) -> None:
    """Put a file's own SHA-256 in the place of the 64 zeros (`NO_SEAL`) it was written with, under the key `seal`.

    The digest is of the file as it was, zeros included. JSON, Parquet metadata and zip comments can all hold it.
    """
    with path.open("r+b") as file:
        found = _find_seal(file)
        if found is None or found[1] != NO_SEAL:
            raise ValueError(f"{path}: no seal to fill in")
        digest = _digest(file, found[0])
        file.seek(found[0])
        file.write(digest.encode())


def check_seal(path: Path, fix: str) -> None:
    """Raise `InputError`, which ends with `fix`, unless a file has a seal and is the file that got it, bit by bit."""
    with path.open("rb") as file:
        found = _find_seal(file)
        if found is None:
            raise InputError(
                f"{path}: has no seal; it is damaged, edited or from an older version: {fix}"
            )
        if _digest(file, found[0]) != found[1]:
            raise InputError(f"{path}: damaged (its seal does not match); {fix}")


def has_seal(path: Path) -> bool:
    """Whether a file has a seal at all."""
    with path.open("rb") as file:
        return _find_seal(file) is not None


def _find_seal(file: BinaryIO) -> tuple[int, str] | None:
    """Position and value of the last seal near the end of a file."""
    start = max(0, file.seek(0, os.SEEK_END) - _TAIL)
    file.seek(start)
    found = list(_SEAL.finditer(file.read()))
    return (start + found[-1].start(1), found[-1].group(1).decode()) if found else None


def _digest(file: BinaryIO, at: int) -> str:
    """SHA-256 (hex) of an open file with the 64 bytes from `at` on replaced by zeros."""
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
    """SHA-256 (hex) of a file's bytes: what `sha256sum` prints, whatever the file is called."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_of(paths: Iterable[Path]) -> str:
    """One SHA-256 (hex) over the names and bytes of files, in the order given."""
    digest = hashlib.sha256()
    for path in paths:
        digest.update(path.name.encode() + b"\0")
        digest.update(bytes.fromhex(sha256_of_file(path)))
    return digest.hexdigest()
