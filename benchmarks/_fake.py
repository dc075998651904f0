"""A GPU that is not there: tensors with its device, shapes and types, but without values.

PyTorch's `FakeTensorMode` raises where two devices meet and where a value is asked for. Backward
passes, sparse products, NCCL and autocast are not covered: `python -m benchmarks gpu` is for them.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from benchmarks import _networks
from tris_core.data import resize, transforms
from tris_core.irn import affinity
from tris_core.predict import predictor
from tris_core.refinement import random_walk
from tris_core.training.task import Batch

Module = TypeVar("Module", bound=nn.Module)
REAL = os.environ.get("TRIS_GPU")
CUDA = torch.device(REAL or "cuda:0")
# What deterministic mode turns into gathers or maxima whose gradients are sorted.
SORTED = ("upsample_bilinear2d", "upsample_linear1d", "_unsafe_index", "max.dim", "index_put")
# Whose gradients do not repeat on a GPU (torch.use_deterministic_algorithms); deterministic mode
# refuses them there, which fake tensors do not show.
UNREPEATABLE = (
    "_adaptive_avg_pool", "adaptive_", "avg_pool3d", "cumsum", "embedding_bag", "fractional_max",
    "grid_sampler", "histc", "kthvalue", "max_pool", "max_unpool", "median", "nll_loss2d",
    "put", "reflection_pad", "replication_pad", "scatter", "_upsample_bicubic2d_aa",
    "_upsample_bilinear2d_aa", "upsample_bicubic2d",
)  # fmt: skip
CACHES = (
    resize._weights, transforms._constant, affinity._offsets, random_walk._neighbours,
)  # fmt: skip


@dataclass
class Seen:
    """What the operations on the GPU were."""

    copies: list[str] = field(default_factory=list)  # to the GPU
    blocking: list[str] = field(default_factory=list)  # those that wait for it
    back: list[str] = field(default_factory=list)  # copies to the host
    sorted: list[str] = field(default_factory=list)
    unrepeatable: list[str] = field(default_factory=list)

    def clear(self) -> None:
        for found in vars(self).values():
            found.clear()


class Watch(TorchDispatchMode):
    """Notes copies between host and GPU, and what would be sorted or not repeat there."""

    def __init__(self, seen: Seen) -> None:
        super().__init__()
        self._seen = seen

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        made = func(*args, **kwargs)
        first = made[0] if isinstance(made, tuple | list) and made else made
        if isinstance(first, Tensor):
            self._note(str(func).removeprefix("aten."), first.device.type, args, kwargs)
        return made

    def _note(self, name: str, device: str, args: Any, kwargs: Any) -> None:
        seen = self._seen
        position = {"_to_copy.default": 0, "copy_.default": 1}.get(name)
        if position is not None and args[position].device.type != device:
            what = f"{name} of {tuple(args[position].shape)} {args[position].dtype}"
            (seen.back if device == "cpu" else seen.copies).append(what)
            if device != "cpu" and not (kwargs.get("non_blocking") or args[2:] == (True,)):
                seen.blocking.append(what)
        if device == "cpu":
            return
        tensors = [x for x in tree_leaves(args) if isinstance(x, Tensor)]
        if name.startswith("index"):  # a mask or positions on the host are copied, and waited for
            seen.blocking += [f"{name} by {x.dtype}" for x in tensors if x.device.type == "cpu"]
        if name.startswith(SORTED):
            seen.sorted.append(name)
        if name.startswith(UNREPEATABLE) and any(x.requires_grad for x in tensors):
            seen.unrepeatable.append(name)


@contextmanager
def fake_gpu() -> Iterator[Seen]:
    """Tensors that are moved to `CUDA` in the block are fake, in deterministic mode.

    With the environment variable TRIS_GPU, a device, they are real (`python -m benchmarks gpu`).
    """
    seen = Seen()
    if REAL:
        with Watch(seen):
            yield seen
        return
    deterministic = torch.are_deterministic_algorithms_enabled()
    with (
        patch.object(Batch, "pin", lambda batch, device: batch),  # pinning asks for a driver
        patch.object(_networks, "place", place),
        patch.object(predictor, "place", place),
    ):
        _forget()
        torch.use_deterministic_algorithms(True)
        try:
            with FakeTensorMode(allow_non_fake_inputs=True), Watch(seen):
                yield seen
        finally:
            torch.use_deterministic_algorithms(deterministic)
            _forget()


def place(module: Module, device: torch.device) -> Module:
    """As in `tris_core.runtime.device`: `nn.Module.to` cannot swap fake parameters."""
    for part in module.modules():
        for name, parameter in part.named_parameters(recurse=False):
            moved = nn.Parameter(_moved(parameter.detach(), device), parameter.requires_grad)
            setattr(part, name, moved)
        for name, buffer in part.named_buffers(recurse=False):
            setattr(part, name, _moved(buffer, device))
    return module


def _moved(x: Tensor, device: torch.device) -> Tensor:
    layout = torch.channels_last if x.dim() == 4 else torch.preserve_format
    return x.to(device, memory_format=layout)


def _forget() -> None:
    """Caches may hold tensors of another mode."""
    for cached in CACHES:
        cached.cache_clear()
