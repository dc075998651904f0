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

from benchmarks import _networks
from tris_core.data import resize, transforms
from tris_core.irn import affinity
from tris_core.refinement import random_walk
from tris_core.training.task import Batch

Module = TypeVar("Module", bound=nn.Module)
REAL = os.environ.get("TRIS_GPU")
CUDA = torch.device(REAL or "cuda:0")
# What deterministic mode turns into gathers or maxima whose gradients are sorted.
SORTED = ("upsample_bilinear2d", "upsample_linear1d", "_unsafe_index", "max.dim", "index_put")
CACHES = (
    resize._weights, transforms._constant, affinity._offsets, random_walk._neighbours,
)  # fmt: skip


@dataclass
class Seen:
    """What the operations on the GPU were."""

    copies: list[str] = field(default_factory=list)
    blocking: list[str] = field(default_factory=list)
    sorted: list[str] = field(default_factory=list)

    def clear(self) -> None:
        for found in (self.copies, self.blocking, self.sorted):
            found.clear()


class Watch(TorchDispatchMode):
    """Notes copies to the GPU and what would be sorted there."""

    def __init__(self, seen: Seen) -> None:
        super().__init__()
        self._seen = seen

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        made = func(*args, **kwargs)
        first = made[0] if isinstance(made, tuple | list) and made else made
        if isinstance(first, Tensor) and first.device.type == "cuda":
            self._note(func, args, kwargs)
        return made

    def _note(self, func: Any, args: Any, kwargs: Any) -> None:
        name = str(func).removeprefix("aten.")
        if any(name.startswith(one) for one in SORTED):
            self._seen.sorted.append(name)
        source = {"_to_copy.default": 0, "copy_.default": 1}.get(name)
        if source is not None and args[source].device.type == "cpu" and args[source].dim():
            what = f"{name} of {tuple(args[source].shape)} {args[source].dtype}"
            self._seen.copies.append(what)
            if not (kwargs.get("non_blocking") or (len(args) > 2 and args[2])):
                self._seen.blocking.append(what)


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
