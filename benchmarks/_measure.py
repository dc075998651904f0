"""Shared by the benchmarks: timing, limits of the machine, the table of results."""

import json
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from statistics import median
from typing import Any

import torch
from tabulate import tabulate

from tris_core.runtime.processes import peak_memory

Row = dict[str, Any]
ROOT = Path(__file__).parents[1]  # of the repository


def device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def seconds(work: Callable[[], Any], *, repeats: int = 3, warm_up: bool = True) -> float:
    """Median wall time of `work()` in seconds. With `warm_up` a first call is not counted."""
    if warm_up:
        work()
    times = []
    for _ in range(repeats):
        _wait()
        started = time.perf_counter()
        work()
        _wait()
        times.append(time.perf_counter() - started)
    return median(times)


def matmul_rate(dtype: torch.dtype = torch.float32, side: int = 2048) -> float:
    """Measured floating-point operations per second in a square matrix product."""
    a = torch.randn(side, side, device=device(), dtype=dtype)
    return 2 * side**3 / seconds(lambda: a @ a, repeats=5)


def bandwidth(megabytes: int = 256) -> float:
    """Measured bytes per second of a copy, counting reads and writes."""
    source = torch.zeros(megabytes * 1_000_000, dtype=torch.uint8, device=device())
    target = torch.empty_like(source)
    return 2 * source.numel() / seconds(lambda: target.copy_(source), repeats=5)


def row(
    name: str, ours: float, *, twin: float | None = None, floor: float | None = None, **more: Any
) -> Row:
    """A row of the table.

    Args:
        ours: seconds that our code takes.
        twin: seconds that a plain implementation takes.
        floor: seconds that the machine needs at least.
        more: further columns.
    """
    columns: Row = {"name": name, "seconds": ours}
    if twin is not None:
        columns |= {"twin_seconds": twin, "ratio": twin / ours}
    if floor is not None:
        columns |= {"floor_seconds": floor, "times_the_floor": ours / floor}
    return {**columns, **more}


def show(rows: Iterable[Row]) -> None:
    """Print a table, and one line of JSON per row that adds the peak memory in GB (1e9 bytes)."""
    rows = list(rows)
    print(tabulate(rows, headers="keys", tablefmt="github", floatfmt=".4g"))
    used = torch.cuda.max_memory_allocated() / 1e9 if torch.cuda.is_available() else peak_memory()
    for one in rows:
        print(json.dumps({**one, "peak_gigabytes": used}))


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
