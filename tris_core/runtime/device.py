"""Choosing a device, its precision, and pinned memory."""

import os
import time
from collections.abc import Callable, Iterator, Sequence
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
FREE = 0.9  # share of its memory that an idle GPU has free


def pick_device(runtime: RuntimeParams, precision: Precision = "fp32") -> torch.device:
    """Pick the device to compute on, and set the number of torch threads and the precision.

    A GPU's convolutions and float32 products are alike: in TF32 if `precision` says so, else exact.
    (PyTorch's default is TF32 for convolutions alone.) Under `bf16`, see `autocast`.

    With `auto` on a machine with GPUs, this run gets a GPU that no other run uses and whose memory
    is free, and keeps it until the process ends. If there is none, it waits. With `cuda`, it is
    the first GPU, or under torchrun the GPU of this process's local rank.
    """
    set_threads(runtime)
    if runtime.device == "cpu" or (runtime.device == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if runtime.device == "auto":
        gpus = range(torch.cuda.device_count())
        names = [str(torch.cuda.get_device_properties(gpu).uuid) for gpu in gpus]
        device = torch.device("cuda", lease(names, scratch_root() / "gpus", busy=others_at_work))
        print(f"using GPU {device.index} of {len(gpus)}", flush=True)
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


def others_at_work(gpu: int) -> str | None:
    """What the memory of a GPU says of work that is not ours; None if it is free."""
    free, total = torch.cuda.mem_get_info(gpu)
    if free >= FREE * total:
        return None
    return f"GPU {gpu} has {free / 1e9:.1f} of {total / 1e9:.1f} GB free, so others use it"


def _nothing(position: int) -> str | None:
    return None


def lease(
    names: Sequence[str],
    folder: Path,
    *,
    poll: float = 1.0,
    busy: Callable[[int], str | None] = _nothing,
) -> int:
    """Lock one of the devices `names` until this process ends; wait if there is none.

    Args:
        names: identifiers that are the same in all competing processes, such as the UUIDs of GPUs.
        folder: where the lock files are, one per name.
        poll: seconds between attempts.
        busy: why the device at a position of `names` cannot be used although no run has locked it;
            None if it can.

    Returns:
        The position in `names` of the locked device.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{name}.lock" for name in names]
    word_due = time.monotonic() + FIRST_WORD
    while True:
        reasons = []
        for position, path in enumerate(paths):
            lock = FileLock(path)
            try:
                lock.acquire(blocking=False)
            except Timeout:
                reasons.append(holder(path))
                continue
            if (reason := busy(position)) is not None:
                lock.release()
                reasons.append(reason)
                continue
            _held.append(lock)
            sign(path)
            return position
        if time.monotonic() >= word_due:
            print(f"waiting: all {len(names)} GPUs are in use: {'; '.join(reasons)}", flush=True)
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
