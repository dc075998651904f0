"""Random images, refs and training steps for the networks of `benchmarks._networks`."""

from collections.abc import Callable
from itertools import count
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tris_core.runtime.threads import prefetch
from tris_core.training.samples import TrainingRefs
from tris_core.training.task import Losses


class Pictures:
    """Replaces `PackedImages`: the same random square for every row."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._square = torch.randint(0, 256, (1, size, size, 3), dtype=torch.uint8)

    def __getitem__(self, rows: NDArray[np.int64]) -> Tensor:
        return self._square.repeat(len(rows), 1, 1, 1)


class TrainingStep:
    """A step as in `fit`, on the next batch at each call."""

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        batch: Callable[[int], Any],
        losses: Callable[[Any], Losses],
    ) -> None:
        self._optimizer, self._losses = optimizer, losses
        self._batches = prefetch(batch, count())

    def __call__(self) -> None:
        total = self._losses(next(self._batches))["total"]
        self._optimizer.zero_grad(set_to_none=True)
        total.backward()
        self._optimizer.step()


def refs(number: int, *, per_image: int = 2, per_ref: int = 2) -> TrainingRefs:
    """`number` refs, `per_image` on each image, with `per_ref` sentences each."""
    rows = np.arange(number)
    each = np.full(number, per_ref)
    sentences = np.arange(number * per_ref, dtype=np.uint64)
    return TrainingRefs(rows, rows // per_image, rows, rows * per_ref, each, sentences)
