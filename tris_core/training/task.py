"""What a training is made of: a model, its batches and its losses."""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Generic, Self, TypeVar

import torch
from torch import Tensor, nn

from tris_core.runtime.params import Precision

Losses = dict[str, Tensor]  # named scalars, `total` among them


@dataclass(frozen=True)
class Batch:
    """Base class of the batches: their tensors move together."""

    def pin(self, device: torch.device) -> Self:
        """Page-lock the tensors if `device` is a GPU, so that `to` overlaps with computation."""
        if device.type != "cuda":
            return self
        return replace(self, **{name: x.pin_memory() for name, x in self._tensors().items()})

    def to(self, device: torch.device) -> Self:
        """Copy the tensors to `device`."""
        moved = {name: x.to(device, non_blocking=True) for name, x in self._tensors().items()}
        return replace(self, **moved)

    def _tensors(self) -> dict[str, Tensor]:
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: x for name, x in values.items() if isinstance(x, Tensor)}


B = TypeVar("B")


@dataclass(frozen=True)
class Task(Generic[B]):
    """One training.

    A batch is a function of the step alone, so any step can be redone after an interruption. In a
    distributed run every rank gets its own part of the batch (`tris_core.runtime.distributed`).

    Attributes:
        name: For progress and messages, such as "Step-1".
        model: Everything a checkpoint must hold.
        optimizer: Built with the full learning rates.
        steps: Length of the training.
        images: Images in a batch, over all processes.
        precision: Of the objective, to judge its speed.
        batch: Step to batch; called in a thread, one step ahead.
        objective: Batch to named scalars (`Losses`); holds `model`. `total` is minimised, the
            others are only logged.
        describe: Step to a description of its batch, such as "ref_id 3, 17", for error messages.
        schedule: Step to a factor in [0, 1] that scales the learning rates.
        max_grad_norm: What the norm of the gradient is scaled down to if it is greater.
        compile: Run the objective through torch.compile.
    """

    name: str
    model: nn.Module
    optimizer: torch.optim.Optimizer
    steps: int
    images: int
    precision: Precision
    batch: Callable[[int], B]
    objective: nn.Module
    describe: Callable[[int], str]
    schedule: Callable[[int], float]
    max_grad_norm: float | None = None
    compile: bool = False


@dataclass(frozen=True)
class KeepBest:
    """Keep the weights with the highest `score()` instead of the last ones.

    The score is computed every `every` steps and after the last one. The first of equal scores
    wins. Every rank calls `score`, but only rank 0 needs the value; the others return NaN.
    """

    every: int
    score: Callable[[], float]
