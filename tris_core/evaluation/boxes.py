"""Acc_box: boxes proposed from a response map or a mask, and whether one of them hits the true box.

The rule is the released one, kept to the pixel because published numbers depend on it
(docs/paper_vs_code.md#box-proposals). A map scaled to [0, 1] is coloured with cubehelix and turned
into grey levels. Pixels brighter than half of the brightest are cut into contours, holes included.
Their bounding rectangles are scored by their mean grey level, thinned by non-maximum suppression,
and kept if they score over half of the best.
"""

from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from tris_core.data.maps import iou

GREY_SHARE = 0.5
SUPPRESSION_IOU = 0.05
SCORE_SHARE = 0.5
HIT_IOU = 0.5


@lru_cache(maxsize=1)
def _grey_levels() -> NDArray[np.uint8]:
    """Grey levels of the 256 cubehelix colours, (256,) uint8, black first and white last."""
    from matplotlib import colormaps  # slow to import, and only this table needs it

    colours = colormaps["cubehelix"](np.arange(256))[None, :, :3].astype(np.float32) * 255
    return np.asarray(cv2.cvtColor(colours.astype(np.uint8), cv2.COLOR_RGB2GRAY)[0], dtype=np.uint8)


def _to_grey(response: NDArray[np.generic]) -> NDArray[np.uint8]:
    """Grey levels (H, W) uint8 of a bool mask, or of a float map scaled to [0, 1]."""
    levels = _grey_levels()
    if response.dtype == np.bool_:
        return response.astype(np.uint8) * levels[-1]
    scaled = response.astype(np.float64)
    scaled -= scaled.min()
    scaled /= scaled.max()
    return levels[np.minimum((scaled * 256).astype(np.int64), 255)]


def propose(response: NDArray[np.generic]) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
    """Propose the bounding rectangle of every contour.

    A constant map has no proposal. (The release divides by zero there and falls back on the pixel
    at the origin, which hits nothing but a true box of that one pixel.)

    Args:
        response: (H, W), bool or float.

    Returns:
        Boxes (K, 4) int64 as x, y, width, height, and the grey levels (H, W) they were found in.

    Raises:
        ValueError: if `response` is not (H, W).
    """
    if response.ndim != 2:
        raise ValueError(f"a map must be (H, W), this one is {response.shape}")
    if response.min() == response.max():
        return np.empty((0, 4), np.int64), np.zeros(response.shape, np.uint8)
    grey = _to_grey(response)
    if response.dtype != np.bool_:  # a mask is black and white already
        grey[grey <= int(GREY_SHARE * grey.max())] = 0
    contours, _ = cv2.findContours(grey, cv2.RETR_TREE, cv2.CHAIN_APPROX_SIMPLE)
    return np.array([cv2.boundingRect(contour) for contour in contours], dtype=np.int64), grey


def mean_grey(boxes: NDArray[np.int64], grey: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Scores (K,) in [0, 1]: the mean grey level inside each of the `boxes` (K, 4)."""
    x, y, width, height = boxes.T
    sums = cv2.integral(grey, sdepth=cv2.CV_64F)
    total = sums[y + height, x + width] - sums[y, x + width] - sums[y + height, x] + sums[y, x]
    return np.asarray(total / (width * height) / 255, dtype=np.float64)


def suppress(
    corners: NDArray[np.int64], scores: NDArray[np.float64], threshold: float
) -> NDArray[np.int64]:
    """Greedy non-maximum suppression in float32, as released; nearly equal scores count as equal.

    Args:
        corners: (K, 4) as x1, y1, x2, y2. Boxes with x2 < x1 are allowed: the released rule
            makes them.
        scores: (K,).
        threshold: a box is dropped if its IoU with a kept one is larger.

    Returns:
        Indices of the kept boxes, int64, best score first; ties keep their order.
    """
    order = np.argsort(-scores.astype(np.float32), kind="stable")
    x1, y1, x2, y2 = corners[order].T.astype(np.float32)
    areas = (x2 - x1) * (y2 - y1)
    alive = np.ones(len(order), dtype=bool)
    kept = []
    for i in range(len(order)):
        if not alive[i]:
            continue
        kept.append(order[i])
        width = (np.minimum(x2, x2[i]) - np.maximum(x1, x1[i])).clip(min=0)
        height = (np.minimum(y2, y2[i]) - np.maximum(y1, y1[i])).clip(min=0)
        intersection = width * height
        with np.errstate(divide="ignore", invalid="ignore"):
            overlap = intersection / (areas + areas[i] - intersection)
        alive &= ~(overlap.astype(np.float64) > threshold)
    return np.array(kept, dtype=np.int64)


def select(boxes: NDArray[np.int64], scores: NDArray[np.float64]) -> NDArray[np.int64]:
    """Indices of the proposals to keep, int64, best first; `boxes` (K, 4) as x, y, width, height.

    Suppression reads (x, y, width, height) as two corners. This is a slip of the release that
    decides which boxes survive, so it is kept.
    """
    kept = suppress(boxes, scores, SUPPRESSION_IOU)
    return kept[scores[kept] > SCORE_SHARE * scores.max(initial=0)]


def box_iou(boxes: NDArray[np.int64], box: NDArray[np.int64]) -> NDArray[np.float64]:
    """IoU (K,) of `boxes` (K, 4) with one `box` (4,), all as x1, y1, x2, y2; 0 if both are empty.

    The width of a box is x2 - x1.
    """
    size = np.minimum(boxes[:, 2:], box[2:]) - np.maximum(boxes[:, :2], box[:2])
    intersection = size.clip(min=0).prod(axis=1)
    union = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1) + (box[2:] - box[:2]).prod() - intersection
    return np.asarray(iou(intersection, union))


def hit_box_iou(response: NDArray[np.generic], box: NDArray[np.int64]) -> bool:
    """Acc_box of one expression: whether a proposed box has IoU over 0.5 with the true box.

    Args:
        response: map or mask (H, W), float or bool.
        box: (4,) int64 as x1, y1, x2, y2 in pixels.
    """
    boxes, grey = propose(response)
    corners = np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)
    hits = box_iou(corners, box) > HIT_IOU
    # Selecting is slow for a speckled mask with thousands of boxes, and useless if none hits.
    return bool(hits.any() and hits[select(boxes, mean_grey(boxes, grey))].any())
