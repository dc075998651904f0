"""Bilinear resizing of maps, on a GPU with gradients that repeat."""

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from tris_core.runtime.device import exact_products


def bilinear(x: Tensor, size: tuple[int, int], *, align_corners: bool) -> Tensor:
    """Maps (B, C, H, W) at another size, (B, C, *size), as `F.interpolate` resizes them.

    In deterministic mode, PyTorch makes a GPU gather four times as many values and sort their
    gradients. Two small matrix products are as repeatable and much faster.
    """
    if x.device.type == "cpu":
        return F.interpolate(x, size, mode="bilinear", align_corners=align_corners)
    return by_products(x, size, align_corners=align_corners)


def by_products(x: Tensor, size: tuple[int, int], *, align_corners: bool) -> Tensor:
    """`bilinear` as a product per axis, in float32. The result is in channels-last format."""
    rows, columns = (
        _weights(source, target, align_corners, x.device)
        for source, target in zip(x.shape[2:], size, strict=True)
    )
    with exact_products(x.device):
        x_BHWC = x.permute(0, 2, 3, 1).float()
        grown = (rows @ x_BHWC.flatten(2)).unflatten(2, x_BHWC.shape[2:])
        return (columns @ grown).permute(0, 3, 1, 2).to(x.dtype)


@lru_cache(maxsize=256)
def _weights(source: int, target: int, align_corners: bool, device: torch.device) -> Tensor:
    """How each of `target` points mixes the `source` points of an axis, (target, source)."""
    with torch.inference_mode(False):  # the first caller may not train, but others will
        points = torch.eye(source)[:, None]
        mixed = F.interpolate(points, target, mode="linear", align_corners=align_corners)
        return mixed[:, 0].T.contiguous().to(device)
