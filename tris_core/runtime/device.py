"""Which device to compute on, and how weights lie there."""

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import torch
from filelock import FileLock, Timeout
from torch import Tensor, nn

from tris_core.runtime.locks import FIRST_WORD, NEXT_WORDS, holder, sign
from tris_core.runtime.params import RuntimeParams
from tris_core.runtime.scratch import scratch_root
from tris_core.runtime.threads import set_threads

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
        names = [
            str(torch.cuda.get_device_properties(number).uuid)
            for number in range(torch.cuda.device_count())
        ]
        device = torch.device("cuda", lease(names, scratch_root() / "gpus"))
    else:
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    torch.cuda.set_device(device)
    return device


def place(module: Module, device: torch.device) -> Module:
    """Move a module to `device` with channels-last convolution weights, the layout in which convolutions run fastest."""
    return module.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]


_held: list[
    FileLock
] = []  # a lock lives as long as its object, and the operating system frees those of the dead


def lease(names: Sequence[str], folder: Path, *, poll: float = 1.0) -> int:
    """Position in `names` of one that no other process holds; waits for one. It is held until this process ends.

    `names` are the same in every process that competes (the UUIDs of GPUs), `folder` holds a lock file for each.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{name}.lock" for name in names]
    word_due = time.monotonic() + FIRST_WORD
    while True:
        for position, path in enumerate(paths):
            lock = FileLock(path)
            try:
                lock.acquire(blocking=False)
            except Timeout:
                continue
            _held.append(lock)
            sign(path)
            return position
        if time.monotonic() >= word_due:
            holders = "; ".join(holder(path) for path in paths)
            print(f"waiting: other runs use all {len(names)} GPUs: {holders}", flush=True)
            word_due = time.monotonic() + NEXT_WORDS
        time.sleep(poll)


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """`bf16` runs matrix products in bfloat16, `fp32` leaves everything as it is."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")


def pin(tensor: Tensor, device: torch.device) -> Tensor:
    """`tensor` in page-locked memory if `device` is a GPU, which then copies it while the host goes on (`non_blocking`)."""
    return tensor.pin_memory() if device.type == "cuda" else tensor
