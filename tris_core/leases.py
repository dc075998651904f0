"""One run per GPU: leases by file locks, so that `dvc queue start -j 8` spreads over eight of them. No torch here."""

import time
from collections.abc import Sequence
from pathlib import Path

from filelock import FileLock, Timeout

from tris_core.locks import FIRST_WORD, NEXT_WORDS, holder, sign

_held: list[FileLock] = []  # a lock lives as long as its object, and the operating system frees those of the dead


def lease(names: Sequence[str], folder: Path, *, poll: float = 1.0) -> int:
    """Position in `names` of one that no other process holds; waits for one. It is held until this process ends.

    `names` are the same in every process that competes (the UUIDs of GPUs), `folder` holds a lock file for each.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{name}.lock" for name in names]
    word_due = time.monotonic() + FIRST_WORD
    while True:
        for position, path in enumerate(paths):
            lock = FileLock(path)
            try:
                lock.acquire(blocking=False)
            except Timeout:
                continue
            _held.append(lock)
            sign(path)
            return position
        if time.monotonic() >= word_due:
            holders = "; ".join(holder(path) for path in paths)
            print(f"waiting: other runs use all {len(names)} GPUs: {holders}", flush=True)
            word_due = time.monotonic() + NEXT_WORDS
        time.sleep(poll)
