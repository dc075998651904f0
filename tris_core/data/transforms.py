"""Turns pictures into the networks' input.

The release feeds every network, both CLIPs included, with RGB squares that are normalised with
ImageNet's mean and deviation and resized without keeping the aspect ratio.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

Pixels = tuple[Sequence[float], Sequence[float]]  # mean and deviation of RGB in [0, 1]
IMAGENET: Pixels = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
MEAN_COLOUR = np.array([124, 116, 104], np.uint8)  # ImageNet's mean: zero once normalised


def resize_square(image: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Resize to (size, size, 3), bilinear with PIL's antialiasing."""
    return np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.BILINEAR))


def normalise(image: Tensor, pixels: Pixels | None = None) -> Tensor:
    """Normalise uint8 (B, 3, H, W) to float32 with a mean and deviation; None for ImageNet's."""
    mean, std = (torch.tensor(v, device=image.device).view(1, 3, 1, 1) for v in pixels or IMAGENET)
    return (image.float() / 255 - mean) / std


def to_tensor(image: NDArray[np.uint8]) -> Tensor:
    """Convert uint8 (..., H, W, 3) to uint8 (..., 3, H, W)."""
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(image, -1, -3)))
