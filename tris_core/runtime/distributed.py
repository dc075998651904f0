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
import torch.distributed.nn.functional as functional
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

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


def of_all_ranks(x: T) -> list[T]:
    """What every rank gives, in rank order, on every rank."""
    found: list[Any] = [x] * world_size()
    if world_size() > 1:
        dist.all_gather_object(found, x)
    return found


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
    return torch.cat(functional.all_gather(x)) if world_size() > 1 else x


def mean(x: Tensor) -> Tensor:
    """Mean of a tensor over processes. Gradients flow to all of them."""
    return functional.all_reduce(x) / world_size() if world_size() > 1 else x


def parallel(objective: nn.Module) -> nn.Module:
    """Average gradients over processes while they are computed, by PyTorch's own means.

    Batch norms keep the statistics that they have, see `tris_core.runtime.batch_norm`.
    """
    if world_size() == 1:
        return objective
    return DistributedDataParallel(objective, broadcast_buffers=False, find_unused_parameters=True)


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
