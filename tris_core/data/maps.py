"""Maps from the network's grid to the image's own size, points, masks and their overlap.

The order of the operations is that of the released code, because numbers depend on it
(docs/paper_vs_code.md#evaluation-size, #normalisation, #ties, #threshold).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tris_core.data.resize import bilinear

EPSILON = 1e-5
ANY_RESPONSE = 1e-9


def to_original(maps: Tensor, *, height: int, width: int) -> Tensor:
    """Resize maps (N, h, w) to (N, height, width), bilinear with aligned corners, as released."""
    return bilinear(maps[:, None], (height, width), align_corners=True)[:, 0]


def response_to_original(
    maps: Tensor, *, size: int | tuple[int, int], height: int, width: int
) -> Tensor:
    """Turn raw response logits into non-negative maps at the image's own size.

    As released: bilinear to the training size without aligned corners, ReLU, then bilinear to the
    original size with aligned corners.

    Args:
        maps: (N, 1, h, w) or (N, h, w).
        size: the training size in pixels, one side of a square or height and width.

    Returns:
        (N, height, width).

    Raises:
        ValueError: if `maps` has another shape.
    """
    if maps.ndim == 3:
        maps = maps[:, None]
    if maps.ndim != 4 or maps.shape[1] != 1:
        found = tuple(maps.shape)
        raise ValueError(f"responses must be (N, 1, h, w) or (N, h, w), these are {found}")
    at_training_size = (size, size) if isinstance(size, int) else size
    trained = bilinear(maps, at_training_size, align_corners=False)
    return to_original(trained.relu_()[:, 0], height=height, width=width)


def divide_by_maximum_(maps: Tensor) -> Tensor:
    """Divide each map (N, H, W) in place by (its maximum + 1e-5). A map of zeros stays zero.

    Raises ValueError if a maximum is negative or NaN: dividing by it would turn the whole image
    into foreground. (Logits of a segmentation network are not normalised but compared with 0.)
    """
    largest = maps.amax(dim=(1, 2), keepdim=True)
    wrong = torch.nonzero(~(largest.flatten() >= 0)).flatten().tolist()
    if wrong:
        found = f"map {wrong[0]} has maximum {largest[wrong[0]].item()}"
        raise ValueError(f"{found}; apply ReLU, or compare logits with 0")
    return maps.div_(largest + EPSILON)


def normalised_at(maps: Tensor, *, size: int | tuple[int, int], height: int, width: int) -> Tensor:
    """Turn raw response logits into maps (N, height, width) in [0, 1), divided by their maxima.

    This is `response_to_original`, then `divide_by_maximum_`.
    """
    return divide_by_maximum_(response_to_original(maps, size=size, height=height, width=width))


def binarise(maps: Tensor, threshold: float = ANY_RESPONSE) -> Tensor:
    """Bool mask of values above `threshold`. By default any positive response, as released."""
    return maps > threshold


def first_maxima(
    expression_ids: Sequence[int] | NDArray[np.int64], maps: NDArray[np.floating]
) -> NDArray[np.int64]:
    """The first maximum of each map (N, H, W) in row-major order: points (N, 2) as x, y.

    Raises ValueError, with the expression's id, if a map holds NaN.
    """
    flat = maps.reshape(len(maps), maps.shape[1] * maps.shape[2]).argmax(axis=1)
    y, x = flat // maps.shape[2], flat % maps.shape[2]
    wrong = np.isnan(maps[np.arange(len(maps)), y, x])  # argmax finds a NaN if there is one
    if wrong.any():
        raise ValueError(f"the map of expression {expression_ids[wrong.argmax()]} holds NaN")
    return np.stack([x, y], axis=1)


def iou(intersection: Any, union: Any) -> Any:
    """Intersection over union of numbers of pixels, elementwise; 0 where both masks are empty."""
    return intersection / np.maximum(union, 1)


def mask_iou(predicted: NDArray[np.bool_], true: NDArray[np.bool_]) -> float:
    """IoU of two masks (H, W), in [0, 1]; 0 if both are empty."""
    return float(iou(np.count_nonzero(predicted & true), np.count_nonzero(predicted | true)))
