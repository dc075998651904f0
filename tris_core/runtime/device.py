"""Choosing a device, its precision, and pinned memory."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, TypeVar

import torch
from filelock import FileLock, Timeout
from torch import Tensor, nn

from tris_core.runtime import distributed
from tris_core.runtime.errors import InputError, counted
from tris_core.runtime.locks import FIRST_WORD, NEXT_WORDS, holder, sign
from tris_core.runtime.params import Precision, RuntimeParams
from tris_core.runtime.scratch import scratch_root
from tris_core.runtime.threads import set_threads

Module = TypeVar("Module", bound=nn.Module)
# What a screen or other contexts take of an idle GPU's memory: a share of it, or so many bytes.
IDLE_SHARE, IDLE_BYTES = 0.1, 1.5e9


def pick_device(runtime: RuntimeParams, precision: Precision = "fp32") -> torch.device:
    """Pick the device to compute on, and set the number of torch threads and the precision.

    A GPU's convolutions and float32 products are alike: in TF32 if `precision` says so, else exact.
    (PyTorch's default is TF32 for convolutions alone.) Under `bf16`, see `autocast`.

    With `auto` on a machine with GPUs, this run gets GPUs that no other run uses and whose memory
    is free, one for each of its processes, and keeps them until it ends. As long as there are too
    few, it waits. With `cuda`, it is the first GPU, or under torchrun the GPU of this process's
    local rank. On a GPU, kernels that do not repeat are refused.

    Raises `InputError` if the run has more processes than there are GPUs.
    """
    set_threads(runtime)
    if runtime.device == "cpu" or (runtime.device == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    local_rank = int(os.environ.get("LOCAL_RANK", "0"))  # torchrun sets both
    processes = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    gpus = torch.cuda.device_count()
    if processes > gpus:
        raise InputError(
            f"runtime.processes = {processes}: each takes a GPU of its own, and this machine has "
            f"{counted(gpus, 'GPU')}; choose fewer, or `runtime.device: cpu`"
        )
    number = local_rank
    if runtime.device == "auto":
        # One process takes them all: if each took its own, two runs could wait for each other.
        leased = _lease_gpus(processes) if local_rank == 0 else []
        own = distributed.rank() - local_rank
        number = distributed.of_all_ranks(leased)[own][local_rank]
        print(f"using GPU {number} of {gpus}", flush=True)
    device = torch.device("cuda", number)
    torch.cuda.set_device(device)
    set_products("tf32" if precision == "tf32" else "ieee")
    refuse_unrepeatable()
    return device


def refuse_unrepeatable() -> None:
    """Require kernels that give the same bytes every time; the others raise `RuntimeError`."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # for deterministic cuBLAS
    torch.use_deterministic_algorithms(True)
    # Filling uninitialised memory takes a tenth of a CPU step, and no kernel here reads it.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


def set_products(kind: Literal["tf32", "ieee"]) -> None:
    """How a GPU computes convolutions and matrix products of float32."""
    torch.backends.cudnn.conv.fp32_precision = kind  # type: ignore[attr-defined]
    torch.backends.cuda.matmul.fp32_precision = kind


def place(module: Module, device: torch.device) -> Module:
    """Move a module to `device` in channels-last format, in which convolutions run fastest."""
    return module.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]


# A lock is released with its object. The operating system releases the locks of dead processes.
_held: list[FileLock] = []


def _lease_gpus(number: int) -> list[int]:
    gpus = range(torch.cuda.device_count())
    names = [str(torch.cuda.get_device_properties(gpu).uuid) for gpu in gpus]
    return lease(names, scratch_root() / "gpus", number, busy=others_at_work)


def others_at_work(gpu: int) -> str | None:
    """What the memory of a GPU says of work that is not ours; None if it is free."""
    free, total = free_memory(gpu)
    if total - free <= max(IDLE_SHARE * total, IDLE_BYTES):
        return None
    return f"GPU {gpu} has {free / 1e9:.1f} of {total / 1e9:.1f} GB free, so others use it"


def free_memory(gpu: int) -> tuple[int, int]:
    """Free bytes of a GPU, and all.

    A process of its own asks, because whoever asks keeps some of the GPU's memory until it ends.
    Several runs that wait would take that for the work of others.
    """
    code = f"import torch; print(*torch.cuda.mem_get_info({gpu}))"
    asked = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, check=True)
    free, total = map(int, asked.stdout.split())
    return free, total


def _nothing(position: int) -> str | None:
    return None


def lease(
    names: Sequence[str],
    folder: Path,
    number: int = 1,
    *,
    poll: float = 5.0,
    busy: Callable[[int], str | None] = _nothing,
) -> list[int]:
    """Lock `number` of the devices `names` until this process ends; wait if there are too few.

    It takes all of them at once or none, so that two runs do not wait for each other.

    Args:
        names: identifiers that are the same in all competing processes, such as the UUIDs of GPUs.
        folder: where the lock files are, one per name.
        number: how many; at most as many as there are names.
        poll: seconds between attempts.
        busy: why the device at a position of `names` cannot be used although no run has locked it;
            None if it can.

    Returns:
        The positions in `names` of the locked devices, ascending.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{name}.lock" for name in names]
    word_due = time.monotonic() + FIRST_WORD
    while True:
        reasons: list[str] = []
        locked: dict[int, FileLock] = {}
        for position, path in enumerate(paths):
            if len(locked) == number:
                break
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
            locked[position] = lock
        if len(locked) == number:
            _held.extend(locked.values())
            for position in locked:
                sign(paths[position])
            return list(locked)
        for lock in locked.values():
            lock.release()
        if time.monotonic() >= word_due:
            print(
                f"waiting for {counted(number, 'GPU')} of {len(names)}: {'; '.join(reasons)}; "
                "`runtime.device: cuda` does not wait",
                flush=True,
            )
            word_due = time.monotonic() + NEXT_WORDS
        time.sleep(poll)


def autocast(device: torch.device, precision: Precision) -> torch.autocast:
    """`bf16` runs convolutions and matrix products in bfloat16; the others change nothing."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")


@contextmanager
def exact_products(device: torch.device) -> Iterator[None]:
    """Matrix products in float32 whatever the precision of the rest. Tensors must be float32.

    Under `tf32` this holds for values. Gradients are computed after the block, in TF32.
    """
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
