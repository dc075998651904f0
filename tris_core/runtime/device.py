"""Choosing a device, its precision, and pinned memory."""

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, TypeVar

import torch
from filelock import FileLock, Timeout
from torch import Tensor, nn

from tris_core.runtime.locks import FIRST_WORD, NEXT_WORDS, holder, sign
from tris_core.runtime.params import Precision, RuntimeParams
from tris_core.runtime.scratch import scratch_root
from tris_core.runtime.threads import set_threads

Module = TypeVar("Module", bound=nn.Module)


def pick_device(runtime: RuntimeParams, precision: Precision = "fp32") -> torch.device:
    """Pick the device to compute on, and set the number of torch threads and the precision.

    A GPU's convolutions and float32 products are alike: in TF32 if `precision` says so, else exact.
    (PyTorch's default is TF32 for convolutions alone.) Under `bf16`, see `autocast`.

    With `auto` on a machine with GPUs, this run gets a GPU that no other run uses, and keeps it
    until the process ends. If all are in use, it waits. With `cuda`, it is the first GPU, or under
    torchrun the GPU of this process's local rank.
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
    set_products("tf32" if precision == "tf32" else "ieee")
    return device


def set_products(kind: Literal["tf32", "ieee"]) -> None:
    """How a GPU computes convolutions and matrix products of float32."""
    torch.backends.cudnn.conv.fp32_precision = kind  # type: ignore[attr-defined]
    torch.backends.cuda.matmul.fp32_precision = kind


def place(module: Module, device: torch.device) -> Module:
    """Move a module to `device` in channels-last format, in which convolutions run fastest."""
    return module.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]


# A lock is released with its object. The operating system releases the locks of dead processes.
_held: list[FileLock] = []


def lease(names: Sequence[str], folder: Path, *, poll: float = 1.0) -> int:
    """Lock one of the devices `names` until this process ends; wait if all are locked.

    Args:
        names: identifiers that are the same in all competing processes, such as the UUIDs of GPUs.
        folder: where the lock files are, one per name.
        poll: seconds between attempts.

    Returns:
        The position in `names` of the locked device.
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
                continue  # in use by another process
            _held.append(lock)
            sign(path)
            return position
        if time.monotonic() >= word_due:
            holders = "; ".join(holder(path) for path in paths)
            print(f"waiting: other runs use all {len(names)} GPUs: {holders}", flush=True)
            word_due = time.monotonic() + NEXT_WORDS
        time.sleep(poll)


def autocast(device: torch.device, precision: Precision) -> torch.autocast:
    """`bf16` runs convolutions and matrix products in bfloat16; the others change nothing."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")


@contextmanager
def exact_products(device: torch.device) -> Iterator[None]:
    """Matrix products in float32 whatever the precision of the rest. Tensors must be float32."""
    matmul = torch.backends.cuda.matmul
    before, matmul.fp32_precision = matmul.fp32_precision, "ieee"
    try:
        with torch.autocast(device.type, enabled=False):
            yield
    finally:
        matmul.fp32_precision = before


def pin(tensor: Tensor, device: torch.device) -> Tensor:
    """Page-locked copy of `tensor` if `device` is a GPU, which then copies it without blocking."""
    return tensor.pin_memory() if device.type == "cuda" else tensor
