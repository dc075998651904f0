"""Process helpers: ending with the parent, worker processes, cores and peak memory."""

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
    """Ask Linux to kill this process when its parent ends. Does nothing on other systems."""
    if sys.platform == "linux":
        parent = os.getppid()
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it ended before the call
            os.kill(os.getpid(), signal.SIGKILL)


def keep_freed_memory() -> None:
    """Make the allocator of Linux keep freed memory.

    By default every large tensor is mapped anew and its pages are zeroed. On a CPU this takes 6 %
    of a training step of the embedded default, and a third with the paper's networks and batch.
    Keeping the memory takes up to a fifth more of it.
    """
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        libc.mallopt(M_MMAP_MAX, 0)
        libc.mallopt(M_TRIM_THRESHOLD, -1)


def cores() -> int:
    """Number of cores for this process.

    These are the cores it may run on, divided by the number of torchrun processes on this machine.
    """
    usable = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    return max(1, usable // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))


def map_in_processes(
    work: Callable[[T], R], items: Iterable[T], *, workers: int
) -> Generator[R, None, None]:
    """`map` in order over `workers` processes (0: one per core), with a few items in flight.

    `work` must be importable. It runs in forks, so it should not use torch. The workers have ended
    when the iterator ends, fails or is closed (`contextlib.closing`).

    Raises `InputError` if a worker is killed.
    """
    workers = workers or cores()
    with ProcessPoolExecutor(workers, initializer=_begin_work) as pool:
        try:
            yield from in_flight(pool, work, items, 8 * workers)
        except BrokenProcessPool as error:
            problem = f"one of {workers} worker processes was killed, probably for lack of memory"
            fix = "lower runtime.workers, then run it again"
            raise InputError(f"{problem}; {fix}") from error
        except BaseException:  # including Ctrl-C and an early close
            # Drop what has not started and wait for the rest: a pool that is still running when
            # the interpreter exits prints a traceback.
            pool.shutdown(cancel_futures=True)
            raise


def _begin_work() -> None:
    """Ignore Ctrl-C: a worker interrupted while holding the queue lock would block the rest."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with_parent()


def in_flight(pool: Executor, work: Callable[[T], R], items: Iterable[T], most: int) -> Iterator[R]:
    """Results of `work` in order, with at most `most` items running or not yet taken."""
    pending: deque[Future[R]] = deque()
    for item in items:
        pending.append(pool.submit(work, item))
        if len(pending) > most:
            yield pending.popleft().result()
    while pending:
        yield pending.popleft().result()


def peak_memory() -> float:
    """Peak resident memory, in GB (1e9 bytes), of this process plus its largest ended child."""
    who = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return sum(resource.getrusage(w).ru_maxrss for w in who) * 1024 / 1e9
