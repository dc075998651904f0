"""Several processes as one run (torchrun's ranks).

A single process is rank 0 of a world of size 1, and every function here is the identity. All
trainings follow one convention. Every process draws the same batch and takes an equal part of it.
Each computes the mean loss of its part. The means over processes of the losses and gradients are
those of the whole batch.
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
PATIENCE = timedelta(hours=2)  # the others wait while rank 0 validates or saves


def under_torchrun() -> bool:
    return "RANK" in os.environ and "WORLD_SIZE" in os.environ


def join() -> None:
    """Join torchrun's process group: gloo for tensors on CPUs, NCCL for those on GPUs."""
    if under_torchrun() and not dist.is_initialized():
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        dist.init_process_group(backend, timeout=PATIENCE)


def rank() -> int:
    return dist.get_rank() if dist.is_initialized() else 0


def world_size() -> int:
    return dist.get_world_size() if dist.is_initialized() else 1


def wait_for_all() -> None:
    if world_size() > 1:
        dist.barrier()


def part(count: int) -> slice:
    """This process's part of a batch of `count`.

    Raises `InputError` if the batch cannot be divided into equal parts.
    """
    if count % world_size():
        problem = f"a batch of {count} cannot be divided by {world_size()} processes"
        raise InputError(f"{problem}; choose another batch or number of them")
    each = count // world_size()
    return slice(rank() * each, (rank() + 1) * each)


def gather(x: Tensor) -> Tensor:
    """Concatenate every process's rows (r, ...) in rank order to (R, ...).

    Gradients are returned to the rank that owns each row.
    """
    made: Tensor = _Gather.apply(x) if world_size() > 1 else x
    return made


def mean(x: Tensor) -> Tensor:
    """Mean of a tensor over processes. Gradients flow to all of them."""
    made: Tensor = _Mean.apply(x) if world_size() > 1 else x
    return made


@torch.no_grad()
def average_gradients(model: nn.Module) -> None:
    """Replace every gradient by its mean over processes, in one exchange."""
    if world_size() == 1:
        return
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    flat = _mean(torch.cat([gradient.flatten() for gradient in gradients]))
    for gradient, values in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(values.view_as(gradient))


def synchronise_batch_norm(model: nn.Module) -> None:
    """Make every batch norm in training use the batches of all processes.

    The state dict does not change.
    """
    if world_size() > 1:
        for module in model.modules():
            if type(module) is nn.BatchNorm2d:
                module.__class__ = _SyncedBatchNorm


def map_over_ranks(items: Sequence[T], work: Callable[[T], R]) -> Iterator[R]:
    """Apply `work` to the items, each on one rank, and yield the results in order on rank 0.

    The other ranks do their share and yield nothing.
    """
    for first in range(0, len(items), world_size()):
        own = first + rank()
        result = work(items[own]) if own < len(items) else None
        if world_size() == 1:
            yield result  # type: ignore[misc]
            continue
        results: list[Any] | None = [None] * world_size() if rank() == 0 else None
        dist.gather_object(result, results)
        if results is not None:
            yield from results[: len(items) - first]


def _mean(x: Tensor) -> Tensor:
    total = x.clone()
    dist.all_reduce(total)
    return total / world_size()


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
        rows = [torch.empty_like(x) for _ in range(world_size())]
        dist.all_gather(rows, x.contiguous())
        return torch.cat(rows)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return _mean(grad)[ctx.own] * world_size()


class _SyncedBatchNorm(nn.BatchNorm2d):
    """Synchronised batch norm on any device. PyTorch's works on GPUs only."""

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)
        wide = x.float()
        centre = mean(wide.mean((0, 2, 3)))
        apart = wide - centre.view(1, -1, 1, 1)
        variance = mean(apart.square().mean((0, 2, 3)))
        count = world_size() * x.numel() // x.shape[1]
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
