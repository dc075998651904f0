"""Several processes as one run (torchrun's ranks): who does which part, and what they tell each other.

Alone, a process is rank 0 of 1 and every function here is the identity. The convention of all trainings: a batch is drawn by
every process alike and divided between them in equal parts, each computes the mean loss of its part, and the mean over
processes of losses and gradients is that of the whole batch.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from tris_core.runtime.errors import InputError

T = TypeVar("T")
R = TypeVar("R")
PATIENCE = timedelta(hours=2)  # others wait while rank 0 validates or saves


def under_torchrun() -> bool:
    return "RANK" in os.environ and "WORLD_SIZE" in os.environ


def join() -> None:
    """Meet the other processes that torchrun started; gloo carries what is on CPUs, NCCL what is on GPUs."""
    if under_torchrun() and not dist.is_initialized():
        dist.init_process_group(
            "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo", timeout=PATIENCE
        )


def rank() -> int:
    return dist.get_rank() if dist.is_initialized() else 0


def size() -> int:
    return dist.get_world_size() if dist.is_initialized() else 1


def wait_for_all() -> None:
    if size() > 1:
        dist.barrier()


def part(count: int) -> slice:
    """Which of the `count` members of a batch are this process's. Raises `InputError` unless all parts are equal."""
    if count % size():
        raise InputError(
            f"a batch of {count} cannot be divided by {size()} processes; choose another batch or number of them"
        )
    each = count // size()
    return slice(rank() * each, (rank() + 1) * each)


def gather(x: Tensor) -> Tensor:
    """The rows of all processes (R, ...) in rank order from each one's (r, ...); gradients flow back to whose rows they are."""
    made: Tensor = _Gather.apply(x) if size() > 1 else x
    return made


def mean(x: Tensor) -> Tensor:
    """Mean over processes of a tensor that each has; gradients flow to all of them."""
    made: Tensor = _Mean.apply(x) if size() > 1 else x
    return made


@torch.no_grad()
def average_gradients(model: nn.Module) -> None:
    """Mean over processes of every gradient, in one exchange."""
    if size() == 1:
        return
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    flat = _mean(torch.cat([gradient.flatten() for gradient in gradients]))
    for gradient, values in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(values.view_as(gradient))


def synchronise_batch_norm(model: nn.Module) -> None:
    """Let every batch norm in training see the batches of all processes. The state dict stays as it is."""
    if size() > 1:
        for module in model.modules():
            if type(module) is nn.BatchNorm2d:
                module.__class__ = _SyncedBatchNorm


def spread(items: Sequence[T], work: Callable[[T], R]) -> Iterator[R]:
    """`work` of every item, in their order, each done by one process; on rank 0. The others do their share and get nothing."""
    for first in range(0, len(items), size()):
        own = first + rank()
        result = work(items[own]) if own < len(items) else None
        if size() == 1:
            yield result  # type: ignore[misc]
            continue
        results: list[Any] | None = [None] * size() if rank() == 0 else None
        dist.gather_object(result, results)
        if results is not None:
            yield from results[: len(items) - first]


def _mean(x: Tensor) -> Tensor:
    total = x.clone()
    dist.all_reduce(total)
    return total / size()


class _Mean(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return _mean(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return _mean(grad)


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.own = slice(rank() * len(x), (rank() + 1) * len(x))
        rows = [torch.empty_like(x) for _ in range(size())]
        dist.all_gather(rows, x.contiguous())
        return torch.cat(rows)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return _mean(grad)[ctx.own] * size()


class _SyncedBatchNorm(nn.BatchNorm2d):
    """torch's own exists for GPUs only."""

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)
        wide = x.float()
        centre = mean(wide.mean((0, 2, 3)))
        apart = wide - centre.view(1, -1, 1, 1)
        variance = mean(apart.square().mean((0, 2, 3)))
        count = size() * x.numel() // x.shape[1]
        with torch.no_grad():
            assert self.running_mean is not None
            assert self.running_var is not None
            assert self.num_batches_tracked is not None
            momentum = self.momentum or 0.0
            self.running_mean.lerp_(centre, momentum)
            self.running_var.lerp_(variance * (count / max(1, count - 1)), momentum)
            self.num_batches_tracked += 1
        scale = (self.weight * torch.rsqrt(variance + self.eps)).view(1, -1, 1, 1)
        return (apart * scale + self.bias.view(1, -1, 1, 1)).to(x.dtype)
