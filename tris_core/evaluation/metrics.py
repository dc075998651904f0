"""Evaluation: what one expression scored, and what a split scored.

An image's maps become one record per expression; the records of all processes are concatenated and reduced once, so a
distributed run gives the numbers of a single one. Shapes: N expressions of one image, H W its original size.

Columns of the records: expression_id, intersection, union, point_x, point_y (int64; pixels); hit_mask, the point lies
in the true mask; hit_box, it lies in the true box, edges included; acc_box, a proposed box meets the true one (bool).
Masks made elsewhere may come without points: then the records have neither points nor their two hits.
"""

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from tris_core.data.maps import first_maxima
from tris_core.evaluation.boxes import hit_box_iou

PRECISION_AT = (0.5, 0.6, 0.7, 0.8, 0.9)
HITS = {"PointM": "hit_mask", "PointIt": "hit_box", "Acc_box": "acc_box"}


def score_image(
    expression_ids: Sequence[int],
    maps: ArrayLike,
    predicted: ArrayLike,
    truth: ArrayLike,
    boxes: ArrayLike,
    *,
    box_input: Literal["binary", "heatmap"] = "binary",
) -> pd.DataFrame:
    """`score_masks` of the maps' own points: one record per expression of one image.

    `maps` (N, H, W) float gives the point, its first maximum in row-major order. Boxes are proposed from the prediction
    (`binary`), as released, or from the map (`heatmap`). Raises ValueError when shapes disagree or a map holds NaN.
    """
    maps, predicted = np.asarray(maps), np.asarray(predicted, dtype=bool)
    if maps.shape != predicted.shape:
        raise ValueError(
            f"expressions {list(expression_ids)}: maps and masks of shapes {maps.shape}, {predicted.shape}"
        )
    points = first_maxima(expression_ids, maps)
    proposers = predicted if box_input == "binary" else maps
    return score_masks(expression_ids, points, predicted, truth, boxes, proposers=proposers)


def score_masks(
    expression_ids: Sequence[int],
    points: ArrayLike | None,
    predicted: ArrayLike,
    truth: ArrayLike,
    boxes: ArrayLike,
    *,
    proposers: ArrayLike | None = None,
) -> pd.DataFrame:
    """One record per expression of one image; columns as above, those of the point only where there are `points`.

    `points` (N, 2) pixels x, y; (-1, -1) is none and misses. `predicted` and `truth` (N, H, W) bool; `boxes` (N, 4) true
    boxes as x1, y1, x2, y2 in pixels, truncated to integers here. (The release truncates x, y, width and height before it
    adds them; who stores boxes should do the same.) Boxes are proposed from the masks, or from `proposers` (N, H, W).
    Raises ValueError when shapes disagree.
    """
    predicted, truth = np.asarray(predicted, dtype=bool), np.asarray(truth, dtype=bool)
    corners = np.asarray(boxes).astype(np.int64).reshape(-1, 4)
    if (
        predicted.ndim != 3
        or predicted.shape != truth.shape
        or not len(truth) == len(corners) == len(expression_ids)
    ):
        shapes = (predicted.shape, truth.shape)
        raise ValueError(
            f"expressions {list(expression_ids)}: {len(corners)} boxes, masks of shapes {shapes}"
        )
    proposers = predicted if proposers is None else np.asarray(proposers)
    intersection = _areas(predicted & truth)
    columns: dict[str, NDArray[np.generic]] = {
        "expression_id": np.asarray(expression_ids, dtype=np.int64),
        "intersection": intersection,
        "union": _areas(predicted) + _areas(truth) - intersection,
    }
    if points is not None:
        x, y = np.asarray(points, dtype=np.int64).reshape(-1, 2).T
        x1, y1, x2, y2 = corners.T
        columns |= {
            "point_x": x,
            "point_y": y,
            "hit_mask": (x >= 0) & truth[np.arange(len(x)), y, x],
            "hit_box": (x >= 0) & (x1 <= x) & (x <= x2) & (y1 <= y) & (y <= y2),
        }
    acc_box = np.array(
        [hit_box_iou(m, box) for m, box in zip(proposers, corners, strict=True)], dtype=bool
    )
    return pd.DataFrame({**columns, "acc_box": acc_box})


def _areas(masks: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Pixels of each of the masks (N, H, W), (N,). Over two axes at once `count_nonzero` is several times slower."""
    return np.array([np.count_nonzero(mask) for mask in masks], dtype=np.int64)


def ious(records: pd.DataFrame) -> "pd.Series[float]":
    """IoU of every record; 0 where prediction and truth are both empty."""
    return records["intersection"] / records["union"].clip(lower=1)


def summarise(records: pd.DataFrame) -> dict[str, float]:
    """What a split scored, from the records of all its expressions in any order; all values are fractions in [0, 1].

    mIoU: mean over expressions of intersection / union; one whose prediction and truth are both empty (union 0) counts
    as IoU 0. oIoU: sum of intersections over sum of unions. P@t: share of expressions with IoU of at least t. PointM,
    PointIt: share whose point lies in the true mask, in the true box; absent where the records have no points. Acc_box:
    share with acc_box.

    The result does not depend on how the records were sharded or ordered, to the last bit. Raises ValueError for no
    records, and for an expression that occurs twice (a distributed sampler that pads does that).
    """
    if records.empty:
        raise ValueError(
            "no records to summarise: the split has no expressions, or none was scored"
        )
    twice = records["expression_id"].duplicated()
    if twice.any():
        first = records["expression_id"][twice].iloc[0]
        raise ValueError(
            f"{twice.sum()} records repeat an expression (first: expression_id {first}); score each once"
        )
    iou = ious(records).to_numpy()
    precision = {f"P@{t}": float((iou >= t).mean()) for t in PRECISION_AT}
    return {
        "mIoU": math.fsum(iou) / len(iou),  # fsum rounds once, whatever the order
        "oIoU": int(records["intersection"].sum()) / max(int(records["union"].sum()), 1),
        **precision,
        **{
            name: float(records[column].mean())
            for name, column in HITS.items()
            if column in records
        },
    }


def iou_per_threshold(
    maps: ArrayLike, masks: ArrayLike, thresholds: ArrayLike
) -> NDArray[np.float64]:
    """IoU (N, T) float64 of each map (N, H, W) cut at each threshold (T,), in any order, with its mask (N, H, W) bool.

    A pixel is foreground where map > threshold, compared in the maps' precision; union 0 gives IoU 0. Sorted values
    give the areas over all thresholds at once. For the best single threshold of a split, and IoU against threshold.
    """
    maps, masks = np.asarray(maps), np.asarray(masks, dtype=bool)
    if maps.ndim != 3 or maps.shape != masks.shape:
        raise ValueError(f"maps {maps.shape} and masks {masks.shape} must both be (N, H, W)")
    cuts = np.asarray(thresholds, dtype=maps.dtype)
    ious = np.empty((len(maps), len(cuts)))
    for row, values, mask in zip(ious, maps, masks, strict=True):
        inside = np.sort(values[mask])
        predicted = values.size - np.searchsorted(np.sort(values, axis=None), cuts, side="right")
        intersection = inside.size - np.searchsorted(inside, cuts, side="right")
        row[:] = intersection / np.maximum(predicted + inside.size - intersection, 1)
    return ious
