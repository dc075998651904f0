"""How many cores torch uses, and small work spread over them."""

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

from tris_core.params.runtime import RuntimeParams
from tris_core.processes import in_flight

T = TypeVar("T")
R = TypeVar("R")


def set_threads(runtime: RuntimeParams) -> None:
    """How many threads torch uses: as asked for, else this process's share of the machine's cores."""
    here = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    torch.set_num_threads(runtime.threads or max(1, (os.cpu_count() or 1) // here))


def map_in_threads(work: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
    """`map` over as many threads as torch has, one core each, in order: for work too small to be divided by itself."""
    threads = torch.get_num_threads()
    try:
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            yield from in_flight(pool, work, items, 2 * threads)
    finally:
        torch.set_num_threads(threads)  # new threads begin with what was set last, whichever set it
