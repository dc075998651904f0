"""Which device to compute on, and how weights lie there."""

import os
from typing import TypeVar

import torch
from torch import nn

from tris_core.leases import lease
from tris_core.params.runtime import RuntimeParams
from tris_core.threads import set_threads
from tris_core.training.scratch import scratch_root

Module = TypeVar("Module", bound=nn.Module)


def pick_device(runtime: RuntimeParams) -> torch.device:
    """The device to compute on; torch's threads are set on the way.

    With `auto` and GPUs it is one that no other run on this machine uses, waited for if need be, and this run's to its end.
    With `cuda` it is the first one, or of several processes each one's own.
    """
    set_threads(runtime)
    if runtime.device == "cpu" or (runtime.device == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if runtime.device == "auto":
        names = [str(torch.cuda.get_device_properties(number).uuid) for number in range(torch.cuda.device_count())]
        device = torch.device("cuda", lease(names, scratch_root() / "gpus"))
    else:
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    torch.cuda.set_device(device)
    return device


def place(module: Module, device: torch.device) -> Module:
    """Move a module to `device` with channels-last convolution weights, the layout in which convolutions run fastest."""
    return module.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
