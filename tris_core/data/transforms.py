"""Turns pictures into the networks' input.

The release feeds every network, both CLIPs included, with RGB squares that are normalised with
ImageNet's mean and deviation and resized without keeping the aspect ratio.
"""

from collections.abc import Sequence
from functools import lru_cache

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
    """Normalise pictures with a mean and deviation; None for ImageNet's.

    Args:
        image: uint8 (B, H, W, 3), as decoded: pictures travel to the device as bytes.

    Returns:
        float32 (B, 3, H, W) in channels-last format.
    """
    mean, std = (_constant(tuple(values), image.device) for values in pixels or IMAGENET)
    return ((image.float() / 255 - mean) / std).permute(0, 3, 1, 2)


@lru_cache
def _constant(values: tuple[float, ...], device: torch.device) -> Tensor:
    """A tensor that is copied to a device once, instead of in every step."""
    with torch.inference_mode(False):  # the first caller may not train, but others will
        return torch.tensor(values, device=device)
