"""One run per GPU: leases by file locks, so that `dvc queue start -j 8` spreads over eight of them. No torch here."""

import time
from collections.abc import Sequence
from pathlib import Path

from filelock import FileLock, Timeout

_held: list[FileLock] = []  # a lock lives as long as its object, and the operating system frees those of the dead


def lease(names: Sequence[str], folder: Path, *, poll: float = 1.0) -> int:
    """Position in `names` of one that no other process holds; waits for one. It is held until this process ends.

    `names` are the same in every process that competes (the UUIDs of GPUs), `folder` holds a lock file for each.
    """
    folder.mkdir(parents=True, exist_ok=True)
    waiting = False
    while True:
        for position, name in enumerate(names):
            lock = FileLock(folder / f"{name}.lock")
            try:
                lock.acquire(blocking=False)
            except Timeout:
                continue
            _held.append(lock)
            return position
        if not waiting:
            print(f"waiting: all of {len(names)} GPUs are in use by other runs", flush=True)
            waiting = True
        time.sleep(poll)
