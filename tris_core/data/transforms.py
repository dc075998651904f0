"""Turns pictures into the networks' input.

The release feeds every network, both CLIPs included, with RGB squares that are normalised with
ImageNet's mean and deviation and resized without keeping the aspect ratio.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def resize_square(image: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Resize to (size, size, 3), bilinear with PIL's antialiasing."""
    return np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.BILINEAR))


def normalise(image: Tensor) -> Tensor:
    """Normalise uint8 (B, 3, H, W) to float32 with ImageNet's mean and standard deviation."""
    mean, std = (torch.tensor(v, device=image.device).view(1, 3, 1, 1) for v in (MEAN, STD))
    return (image.float() / 255 - mean) / std


def to_tensor(image: NDArray[np.uint8]) -> Tensor:
    """Convert uint8 (..., H, W, 3) to uint8 (..., 3, H, W)."""
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(image, -1, -3)))
