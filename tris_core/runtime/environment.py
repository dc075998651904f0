"""Versions and hardware, for receipts and reports."""

import platform
from importlib.metadata import version

import torch

PACKAGES = ("tris", "torch", "open_clip_torch", "numpy", "pillow")


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that affect numbers."""
    return {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}}


def device_name(device: torch.device) -> str:
    """GPU: its model name. CPU: `platform.processor()`, or the architecture."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return platform.processor() or platform.machine()
