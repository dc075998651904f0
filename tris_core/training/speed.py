"""How fast a training is."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch.utils.flop_counter import FlopCounterMode

from tris_core.runtime.params import Precision

SIDE = 8192  # of the matrix product that a GPU is measured against


class Speed:
    """Images per second; on a GPU also its peak memory and the share of its matrix rate.

    The first steps are slower than the rest, so the clock starts at the first call of `count`.
    """

    def __init__(self, images: int, device: torch.device, precision: Precision) -> None:
        """`images` are those of a step, of all processes."""
        self._images, self._device, self._precision = images, device, precision
        self._steps, self._flops = 0, 0
        self._started: float | None = None
        self._spent = 0.0

    @contextmanager
    def first_step(self) -> Iterator[None]:
        """Count the floating-point operations of the step in the block, if it is on a GPU."""
        if self._device.type != "cuda":
            yield
            return
        with FlopCounterMode(display=False) as counter:
            yield
        self._flops = counter.get_total_flops()

    def count(self, steps: int) -> None:
        """Note that another `steps` steps have ended, where the device has nothing left to do."""
        now = time.perf_counter()
        if self._started is None:
            self._started = now
            return
        self._steps += steps
        self._spent = now - self._started

    def rate(self) -> str:
        """Such as "37 images/s"; empty before the second call of `count`."""
        return f"{self._images * self._steps / self._spent:.3g} images/s" if self._steps else ""

    def describe(self) -> str:
        """`rate`, and on a GPU its peak memory and, if counted, the share of its matrix rate."""
        words = self.rate()
        if not words or self._device.type != "cuda":
            return words
        memory = torch.cuda.max_memory_allocated(self._device) / 1e9
        rate = self._flops * self._steps / self._spent
        if not self._flops:
            return f"{words}, {memory:.1f} GB"
        share = rate / matrix_rate(self._device, self._precision)
        return f"{words}, {memory:.1f} GB, {rate / 1e12:.3g} TFLOP/s ({share:.0%} of a product's)"


def matrix_rate(device: torch.device, precision: Precision, side: int = SIDE) -> float:
    """Measured floating-point operations per second of a square matrix product."""
    a = torch.randn(side, side, device=device)
    a = a.bfloat16() if precision == "bf16" else a
    best = float("inf")
    for _ in range(4):  # the first one warms up
        _finish(device)
        started = time.perf_counter()
        a @ a
        _finish(device)
        best = min(best, time.perf_counter() - started)
    return 2 * side**3 / best


def _finish(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
