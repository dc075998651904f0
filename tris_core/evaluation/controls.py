"""What Step-1's numbers are to be held against: upper bounds that look at the truth, and baselines that look at nothing.

all maps         every response map at Step-1's threshold: what there is without selection
best expression  every object's maps replaced by the one with the highest IoU: an upper bound of PRMS (Eq. 10)
best threshold   all maps at the single threshold that gives the split its highest mIoU
whole image      the mask that is everything
centre           the point in the middle of the image

And of Step-2: the truth in the place of its pseudo-labels.
"""

from collections.abc import Iterable
from math import ceil, floor
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from torch import Tensor

from tris_core.data.rle import encode
from tris_core.evaluation.metrics import iou_per_threshold, score_masks, summarise
from tris_core.evaluation.records import THRESHOLDS, by_image, in_order, true_boxes, true_masks


def controls(
    responses: Iterable[pd.DataFrame], truth: pd.DataFrame, *, size: int, threshold: float
) -> pd.DataFrame:
    """One row per split and control: columns split, control, mIoU, oIoU, PointM, PointIt, threshold, uses_truth.

    `responses` as `tris_core.evaluation.records.by_image` takes them; `truth` by ref_id; `size` the training size; `threshold` of
    Step-1. What a control does not define is missing. Every mean is over expressions.
    """

    def judge(rows: pd.DataFrame, maps: Tensor) -> tuple[pd.DataFrame, pd.DataFrame]:
        ref_ids = rows["ref_id"].to_numpy()
        masks = true_masks(truth, ref_ids)
        found = iou_per_threshold(maps.numpy(), masks, [threshold, *THRESHOLDS])
        ious = rows[["split", "expression_id", "ref_id"]].assign(
            iou=found[:, 0], curve=list(found[:, 1:])
        )
        centre = np.tile([masks.shape[2] // 2, masks.shape[1] // 2], (len(rows), 1))
        everything = np.ones_like(masks)
        return ious, score_masks(
            rows["expression_id"].to_numpy(), centre, everything, masks, true_boxes(truth, ref_ids)
        )

    ious, blind = (
        pd.concat(tables) for tables in zip(*by_image(responses, truth, size, judge), strict=True)
    )
    splits = in_order(ious["split"])
    parts = []
    for split in splits:
        table = ious[ious["split"] == split]
        parts.append(
            _of_split(table, blind[blind["expression_id"].isin(table["expression_id"])], threshold)
        )
    return pd.concat(parts, keys=splits, names=["split"]).reset_index("split")


def _of_split(table: pd.DataFrame, blind: pd.DataFrame, threshold: float) -> pd.DataFrame:
    curve = np.stack(table["curve"].to_list()).mean(0)
    trivial = summarise(blind)
    best = int(curve.argmax())
    upper = float(table.groupby("ref_id")["iou"].transform("max").mean())
    return pd.DataFrame(
        [
            {
                "control": "all maps",
                "mIoU": float(table["iou"].mean()),
                "threshold": threshold,
                "uses_truth": False,
            },
            {
                "control": "best expression",
                "mIoU": upper,
                "threshold": threshold,
                "uses_truth": True,
            },
            {
                "control": "best threshold",
                "mIoU": curve[best],
                "threshold": THRESHOLDS[best],
                "uses_truth": True,
            },
            {
                "control": "whole image",
                "mIoU": trivial["mIoU"],
                "oIoU": trivial["oIoU"],
                "uses_truth": False,
            },
            {
                "control": "centre",
                "PointM": trivial["PointM"],
                "PointIt": trivial["PointIt"],
                "uses_truth": False,
            },
        ],
        columns=["control", "mIoU", "oIoU", "PointM", "PointIt", "threshold", "uses_truth"],
    )


def oracle_labels(
    truth: pd.DataFrame, refs: pd.DataFrame, shape: Literal["mask", "box"]
) -> pd.DataFrame:
    """Pseudo-labels of the train refs made from the truth, for `refine.from`: columns ref_id, height, width, counts.

    `mask`: the true masks, what LAVT learns from. `box`: every pixel that the true box touches, what CTS is given. `truth` by
    ref_id. Raises KeyError for a train ref without truth.
    """
    labels = truth.loc[
        refs.loc[refs["split"] == "train", "ref_id"], ["height", "width", "counts"]
    ].copy()
    if shape == "box":
        labels["counts"] = [encode(_filled(row)) for row in truth.loc[labels.index].itertuples()]
    return labels.reset_index()


def _filled(row: Any) -> NDArray[np.bool_]:
    mask = np.zeros((row.height, row.width), dtype=bool)
    mask[max(0, floor(row.y0)) : ceil(row.y1), max(0, floor(row.x0)) : ceil(row.x1)] = True
    return mask
