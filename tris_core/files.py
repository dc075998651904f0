"""Outputs that are either whole or absent, and digests of inputs."""

import errno
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tris_core.errors import InputError

_BLANK = "0" * 64
_SEAL = re.compile(rb'"seal": "([0-9a-f]{64})"\n}\n\Z')


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary sibling to write a file or a folder to; it takes the place of `path` when the block ends without error."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.parent / f".{path.name}.tmp"
    _remove(temporary)
    try:
        with plain_when_full(path):
            yield temporary
        if path.is_dir():
            shutil.rmtree(path)
        os.replace(temporary, path)
    finally:
        _remove(temporary)


@contextmanager
def plain_when_full(path: Path) -> Iterator[None]:
    """`InputError` for a disk that is full, or a quota or limit reached, while something is written at `path`."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        fix = "free some or raise the limit, then run it again: what is finished stays"
        raise InputError(f"{path}: no space to write it ({os.strerror(error.errno)}); {fix}") from error


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def write_json(path: Path, content: Any) -> None:
    """Indented JSON with a final newline, keys in the order given."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n")


def write_sealed_json(path: Path, content: dict[str, Any]) -> None:
    """Indented JSON whose last key, `seal`, is the SHA-256 of the file's own bytes with 64 zeros in its place."""
    head, _, tail = (json.dumps({**content, "seal": _BLANK}, indent=1) + "\n").rpartition(_BLANK)
    seal = hashlib.sha256(f"{head}{_BLANK}{tail}".encode()).hexdigest()
    with replacing(path) as temporary:
        temporary.write_text(head + seal + tail)


def read_sealed_json(path: Path) -> dict[str, Any]:
    """The content that `write_sealed_json` wrote, without the seal. Raises `InputError` if a single bit differs."""
    if not path.is_file():
        raise InputError(f"{path}: not found")
    data = path.read_bytes()
    if (found := _SEAL.search(data)) is None:
        raise InputError(f"{path}: no seal at its end; it is damaged, edited or from an older version: copy it again")
    blank = data[: found.start(1)] + _BLANK.encode() + data[found.end(1) :]
    if hashlib.sha256(blank).hexdigest().encode() != found[1]:
        raise InputError(f"{path}: damaged (its seal does not match); copy it again")
    try:
        content: dict[str, Any] = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not JSON ({error}); copy it again") from error
    del content["seal"]
    return content


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
