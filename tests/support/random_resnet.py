"""A file like torchvision's weights of its ResNet-50, with random numbers."""

from pathlib import Path

import torch
from torchvision.models import resnet50


def write_resnet50(path: Path) -> dict[str, torch.Tensor]:
    """Write the file and return its content, in half precision to halve the file."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(50)
        state = resnet50(weights=None).state_dict()
    half = {
        key: value.half() if value.is_floating_point() else value for key, value in state.items()
    }
    torch.save(half, path)
    return half
