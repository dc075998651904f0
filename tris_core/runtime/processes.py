"""The life of a process: it ends with its parent, uses every core at most once, and says what memory it took."""

import ctypes
import os
import resource
import signal
import sys
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from tris_core.runtime.errors import InputError

T = TypeVar("T")
R = TypeVar("R")
PR_SET_PDEATHSIG = 1
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4


def end_with_parent() -> None:
    """Ask Linux to kill this process when the one that started it ends. Elsewhere nothing happens."""
    if sys.platform == "linux":
        parent = os.getppid()
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it ended before the request was made
            os.kill(os.getpid(), signal.SIGKILL)


def keep_freed_memory() -> None:
    """Let Linux' allocator keep what is freed. Else every large tensor is mapped anew and its pages cleared: 6 % of a training
    step on a CPU with the embedded default, a third with the paper's networks and batch. It takes up to a fifth more memory.
    """
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        libc.mallopt(M_MMAP_MAX, 0)
        libc.mallopt(M_TRIM_THRESHOLD, -1)


def cores() -> int:
    """Cores that are this process's: those it may run on (a scheduler's share), divided by torchrun's processes here."""
    usable = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    return max(1, usable // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))


def map_in_processes(
    work: Callable[[T], R], items: Iterable[T], *, workers: int
) -> Generator[R, None, None]:
    """`map` over `workers` processes (0: one for each of `cores`), in order, with only a few items in flight.

    `work` must be importable; it runs in forks, so it should not use torch. When the iterator ends, fails or is closed
    (`contextlib.closing`), the processes have ended too.
    """
    workers = workers or cores()
    with ProcessPoolExecutor(workers, initializer=_begin_work) as pool:
        try:
            yield from in_flight(pool, work, items, 8 * workers)
        except BrokenProcessPool as error:
            raise InputError(
                f"one of {workers} worker processes was killed, as systems do that run out of memory; lower runtime.workers, "
                "then run it again"
            ) from error
        except BaseException:  # Ctrl-C and an early close among them: what has not begun is dropped, the rest waited for,
            pool.shutdown(
                cancel_futures=True
            )  # as a pool that ends beside the interpreter prints a traceback
            raise


def _begin_work() -> None:
    """Ctrl-C reaches workers too; one that it hits while it holds a queue's lock would leave all others waiting for ever."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with_parent()


def in_flight(pool: Executor, work: Callable[[T], R], items: Iterable[T], most: int) -> Iterator[R]:
    """`work` of the items in a pool, in their order, `most` of them under way or waiting to be taken."""
    pending: deque[Future[R]] = deque()
    for item in items:
        pending.append(pool.submit(work, item))
        if len(pending) > most:
            yield pending.popleft().result()
    while pending:
        yield pending.popleft().result()


def peak_memory() -> float:
    """Gigabytes (1e9 bytes) of resident memory this process has held at most, plus the largest of its ended children."""
    who = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return sum(resource.getrusage(w).ru_maxrss for w in who) * 1024 / 1e9
