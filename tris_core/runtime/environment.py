"""What a program ran with: versions and machine, for receipts and reports."""

import platform
from importlib.metadata import version

import torch

PACKAGES = ("tris", "torch", "open_clip_torch", "numpy", "pillow")


def versions() -> dict[str, str]:
    """Of Python and the packages that numbers depend on."""
    return {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}}


def device_name(device: torch.device) -> str:
    """What the vendor calls a GPU; of a CPU what the system tells, its architecture at least."""
    return (
        torch.cuda.get_device_name(device)
        if device.type == "cuda"
        else platform.processor() or platform.machine()
    )
