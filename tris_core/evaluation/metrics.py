"""From masks to metrics: one record per expression, then one summary per split.

Records of any number of processes are concatenated and reduced once, so a distributed run gives
the numbers of a single process. Shapes: N expressions of one image, whose size is H, W.

Columns of the records: expression_id, intersection, union, point_x, point_y (int64, in pixels);
hit_mask, whether the point is in the true mask; hit_box, whether it is in one of the true boxes,
edges included; acc_box, whether a proposed box hits the first true one (bool). Only ReferIt has
several true boxes (docs/paper_vs_code.md#objects). Masks made elsewhere may come without points;
their records have neither points nor the two hits.
"""

import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from tris_core.data.maps import first_maxima, iou
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
    """One record per expression of one image, with points taken from the maps.

    Args:
        maps: (N, H, W) float; the point is the first maximum in row-major order
            (docs/paper_vs_code.md#ties).
        predicted, truth, boxes: as in `score_masks`.
        box_input: propose boxes from the masks (`binary`), as released, or from the maps
            (`heatmap`).

    Raises:
        ValueError: if shapes disagree or a map holds NaN.
    """
    maps, predicted = np.asarray(maps), np.asarray(predicted, dtype=bool)
    if maps.shape != predicted.shape:
        shapes = f"{maps.shape}, {predicted.shape}"
        raise ValueError(f"expressions {list(expression_ids)}: maps and masks of shapes {shapes}")
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
    """One record per expression of one image.

    Args:
        points: (N, 2) pixels x, y; (-1, -1) means no point, which misses. None if the masks have
            no points.
        predicted, truth: masks (N, H, W) bool.
        boxes: (N, M, 4) true boxes as x1, y1, x2, y2 in pixels, truncated to integers here, or
            (N, 4) if M = 1. (The release truncates x, y, width and height before it adds them;
            code that stores boxes should do the same.)
        proposers: (N, H, W) maps to propose boxes from, instead of the predicted masks.

    Raises:
        ValueError: if shapes disagree.
    """
    predicted, truth = np.asarray(predicted, dtype=bool), np.asarray(truth, dtype=bool)
    corners = np.asarray(boxes).astype(np.int64)
    corners = corners[:, None] if corners.ndim == 2 else corners
    same_length = len(truth) == len(corners) == len(expression_ids)
    if predicted.ndim != 3 or predicted.shape != truth.shape or not same_length:
        found = f"{len(corners)} boxes, masks of shapes {(predicted.shape, truth.shape)}"
        raise ValueError(f"expressions {list(expression_ids)}: {found}")
    proposers = predicted if proposers is None else np.asarray(proposers)
    intersection = _areas(predicted & truth)
    columns: dict[str, NDArray[np.generic]] = {
        "expression_id": np.asarray(expression_ids, dtype=np.int64),
        "intersection": intersection,
        "union": _areas(predicted) + _areas(truth) - intersection,
    }
    if points is not None:
        x, y = np.asarray(points, dtype=np.int64).reshape(-1, 2).T
        x1, y1, x2, y2 = corners.T  # each (M, N)
        in_boxes = (x1 <= x) & (x <= x2) & (y1 <= y) & (y <= y2)
        columns |= {
            "point_x": x,
            "point_y": y,
            "hit_mask": (x >= 0) & truth[np.arange(len(x)), y, x],
            "hit_box": (x >= 0) & in_boxes.any(axis=0),
        }
    hits = [hit_box_iou(m, box) for m, box in zip(proposers, corners[:, 0], strict=True)]
    return pd.DataFrame({**columns, "acc_box": np.array(hits, dtype=bool)})


def _areas(masks: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Pixels of each of the masks (N, H, W), (N,). Counting over two axes at once is slower."""
    return np.array([np.count_nonzero(mask) for mask in masks], dtype=np.int64)


def ious(records: pd.DataFrame) -> "pd.Series[float]":
    """IoU of every record, in [0, 1]; 0 where prediction and truth are both empty."""
    found: pd.Series[Any] = iou(records["intersection"], records["union"])
    return found


def summarise(records: pd.DataFrame) -> dict[str, float]:
    """The metrics of a split, all in [0, 1], from the records of its expressions in any order.

    The result does not depend on the order or sharding of the records, to the last bit.

    Returns:
        mIoU: mean IoU over expressions; an empty prediction of an empty mask counts as 0.
        oIoU: sum of intersections over sum of unions.
        P@t: share of expressions with an IoU of at least t.
        PointM, PointIt: share with the point in the true mask, in the true box; absent if the
            records have no points.
        Acc_box: share with a proposed box that hits the true one.

    Raises:
        ValueError: if there are no records, or an expression occurs twice (as with a distributed
            sampler that pads).
    """
    if records.empty:
        raise ValueError("no records to summarise: the split has no measured expressions")
    twice = records["expression_id"].duplicated()
    if twice.any():
        first = records["expression_id"][twice].iloc[0]
        repeated = f"{twice.sum()} records repeat an expression (first: expression_id {first})"
        raise ValueError(f"{repeated}; score each once")
    iou_of = ious(records).to_numpy()
    overall = iou(int(records["intersection"].sum()), int(records["union"].sum()))
    found = {name: column for name, column in HITS.items() if column in records}
    return {
        "mIoU": math.fsum(iou_of) / len(iou_of),  # fsum rounds once, so the order does not matter
        "oIoU": float(overall),
        **{f"P@{t}": float((iou_of >= t).mean()) for t in PRECISION_AT},
        **{name: float(records[column].mean()) for name, column in found.items()},
    }


def iou_per_threshold(
    maps: ArrayLike, masks: ArrayLike, thresholds: ArrayLike
) -> NDArray[np.float64]:
    """IoU of each map, binarised at each threshold, with its mask.

    A pixel is foreground if map > threshold, compared in the precision of the maps. Sorting the
    values gives the areas of all thresholds at once.

    Args:
        maps: (N, H, W).
        masks: (N, H, W) bool.
        thresholds: (T,), in any order.

    Returns:
        (N, T) float64; 0 where the union is empty.

    Raises:
        ValueError: if the shapes disagree.
    """
    maps, masks = np.asarray(maps), np.asarray(masks, dtype=bool)
    if maps.ndim != 3 or maps.shape != masks.shape:
        raise ValueError(f"maps {maps.shape} and masks {masks.shape} must both be (N, H, W)")
    cuts = np.asarray(thresholds, dtype=maps.dtype)
    found = np.empty((len(maps), len(cuts)))
    for row, values, mask in zip(found, maps, masks, strict=True):
        inside = np.sort(values[mask])
        predicted = values.size - np.searchsorted(np.sort(values, axis=None), cuts, side="right")
        intersection = inside.size - np.searchsorted(inside, cuts, side="right")
        row[:] = iou(intersection, predicted + inside.size - intersection)
    return found
