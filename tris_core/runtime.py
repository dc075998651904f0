"""Which device to compute on."""

import os

import torch

from tris_core.params.runtime import RuntimeParams


def pick_device(runtime: RuntimeParams) -> torch.device:
    """The device to compute on; torch's threads are set on the way."""
    torch.set_num_threads(runtime.threads or os.cpu_count() or 1)
    if runtime.device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(runtime.device)
