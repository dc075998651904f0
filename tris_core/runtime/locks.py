"""Locks between processes. A process that waits says what it waits for. Does not import torch."""

import os
import shlex
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain, repeat
from pathlib import Path

from filelock import FileLock, Timeout

from tris_core.runtime.files import HOST

FIRST_WORD, NEXT_WORDS = 10.0, 60.0  # seconds of waiting


@contextmanager
def hold(path: Path, what: str) -> Iterator[None]:
    """Hold the lock file `path` during the block.

    A process that waits for `what` prints a line that names the holder.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path)
    _acquire(lock, path, what)
    try:
        sign(path)
        yield
    finally:
        _signature(path).unlink(missing_ok=True)
        lock.release()


def _acquire(lock: FileLock, path: Path, what: str) -> None:
    for patience in chain([FIRST_WORD], repeat(NEXT_WORDS)):
        try:
            lock.acquire(timeout=patience)
            return
        except Timeout:
            print(f"waiting for {what}: {holder(path)} has {path}", flush=True)


def sign(path: Path) -> None:
    """Note that this process holds the lock.

    The note is a separate file, because every waiting process empties the lock file.
    """
    since = time.strftime("%H:%M")
    words = f"process {os.getpid()} on {HOST} since {since} ({shlex.join(sys.argv)})"
    _signature(path).write_text(words)


def holder(path: Path) -> str:
    """The process that signed last."""
    try:
        return _signature(path).read_text() or "another process"
    except OSError:
        return "another process"


def _signature(path: Path) -> Path:
    return path.with_name(f"{path.name}.holder")
