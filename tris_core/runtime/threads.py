"""How many cores torch uses, small work spread over them, and prefetching."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

from tris_core.runtime.params import RuntimeParams
from tris_core.runtime.processes import cores, in_flight

T = TypeVar("T")
R = TypeVar("R")


def set_threads(runtime: RuntimeParams) -> None:
    """Set the number of torch threads: as asked for, or all of this process's cores."""
    torch.set_num_threads(runtime.threads or cores())


def map_in_threads(work: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
    """`map` in order over as many threads as torch has, one core each.

    For work items that are too small to be parallelised themselves.
    """
    threads = torch.get_num_threads()
    try:
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            yield from in_flight(pool, work, items, 2 * threads)
    finally:
        torch.set_num_threads(
            threads
        )  # the last setting, from any thread, is the default of new ones


def prefetch(read: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
    """`map(read, items)`; a thread reads the next item while the caller works on this one."""
    with ThreadPoolExecutor(1) as pool:
        yield from in_flight(pool, read, items, 1)
