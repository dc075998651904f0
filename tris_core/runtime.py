"""Which device to compute on, and how weights lie there."""

import os
from typing import TypeVar

import torch
from torch import nn

from tris_core.params.runtime import RuntimeParams

Module = TypeVar("Module", bound=nn.Module)


def pick_device(runtime: RuntimeParams) -> torch.device:
    """The device to compute on; torch's threads are set on the way."""
    torch.set_num_threads(runtime.threads or os.cpu_count() or 1)
    if runtime.device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(runtime.device)


def place(module: Module, device: torch.device) -> Module:
    """Move a module to `device` with channels-last convolution weights, the layout in which convolutions run fastest."""
    return module.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
