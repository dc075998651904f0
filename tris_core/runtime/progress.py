"""Progress of everything that takes more than a few seconds."""

import os
import sys
from collections.abc import Iterable, Iterator, Sized
from typing import Any, TypeVar

from tqdm import tqdm

PLAIN = "{desc}: {n_fmt}/{total_fmt} in {elapsed}, {remaining} to go{postfix}\n"

Parts = TypeVar("Parts", bound=Sized)


def progress(total: int, what: str, *, done: int = 0) -> "tqdm[Any]":
    """A bar on a terminal; elsewhere a plain line every 15 seconds. Call `update(n)` on it."""
    if os.environ.get("RANK", "0") != "0":  # only rank 0 shows progress
        return tqdm(total=total, disable=True)
    if sys.stderr.isatty():
        return tqdm(total=total, initial=done, desc=what)
    return tqdm(
        total=total, initial=done, desc=what, bar_format=PLAIN, mininterval=15, miniters=1, delay=1
    )


def advance(parts: Iterable[Parts], bar: "tqdm[Any]") -> Iterator[Parts]:
    """Yield `parts`, advancing the bar by the length of each."""
    for part in parts:
        bar.update(len(part))
        yield part
