"""Locks between processes, with a word to whoever waits. No torch here."""

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
    """Hold the lock file `path` while the block runs. Whoever waits for `what` says so, and who has it."""
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
    """Write down that this process has the lock: the lock file itself is emptied by all who wait for it."""
    since = time.strftime("%H:%M")
    words = f"process {os.getpid()} on {HOST} since {since} ({shlex.join(sys.argv)})"
    _signature(path).write_text(words)


def holder(path: Path) -> str:
    """Who signed last."""
    try:
        return _signature(path).read_text() or "another process"
    except OSError:
        return "another process"


def _signature(path: Path) -> Path:
    return path.with_name(f"{path.name}.holder")
