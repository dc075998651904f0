"""Reference points for Step-1 and Step-2: upper bounds that use ground truth, trivial baselines.

all maps         every response map at Step-1's threshold, without selection
best expression  each object's maps replaced by the one with the highest IoU: an upper bound of PRMS
                 (Eq. 10)
best threshold   all maps at the single threshold with the highest mIoU of the split
whole image      a mask of the whole image
centre           the point in the middle of the image

For Step-2: the ground truth as pseudo-labels.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from math import ceil, floor
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from torch import Tensor

from tris_core.data.rle import encode
from tris_core.data.truth import Truth
from tris_core.evaluation.metrics import iou_per_threshold, score_masks, summarise
from tris_core.evaluation.records import THRESHOLDS, by_image, in_order

COLUMNS = ["control", "mIoU", "oIoU", "PointM", "PointIt", "threshold", "uses_truth"]


def controls(
    responses: Iterable[pd.DataFrame], truth: Truth, *, size: int, threshold: float
) -> pd.DataFrame:
    """Measure every control on every split. Means are over expressions.

    Args:
        responses, size: as in `tris_core.evaluation.records.by_image`.
        threshold: Step-1's.

    Returns:
        One row per split and control: column split and those of `COLUMNS`. Metrics that a
        control does not define are missing.
    """
    measured = by_image(responses, truth.sizes, size, _Controls(truth, threshold))
    ious, trivial = (pd.concat(tables) for tables in zip(*measured, strict=True))
    splits = in_order(ious["split"])
    parts = []
    for split in splits:
        part = ious[ious["split"] == split]
        of_split = trivial["expression_id"].isin(part["expression_id"])
        parts.append(_of_split(part, trivial[of_split], threshold))
    return pd.concat(parts, keys=splits, names=["split"]).reset_index("split")


@dataclass(frozen=True)
class _Controls:
    """Measures the expressions of one image."""

    truth: Truth
    threshold: float

    def __call__(self, rows: pd.DataFrame, maps: Tensor) -> tuple[pd.DataFrame, pd.DataFrame]:
        """IoU (`iou`, and `curve` at all thresholds) of the maps; records of the trivial masks."""
        ref_ids = rows["ref_id"].to_numpy()
        masks, boxes = self.truth.masks(ref_ids), self.truth.boxes(ref_ids)
        found = iou_per_threshold(maps.numpy(), masks, [self.threshold, *THRESHOLDS])
        ious = rows[["split", "expression_id", "ref_id"]].assign(
            iou=found[:, 0], curve=list(found[:, 1:])
        )
        centre = np.tile([masks.shape[2] // 2, masks.shape[1] // 2], (len(rows), 1))
        whole = np.ones_like(masks)
        return ious, score_masks(rows["expression_id"].to_numpy(), centre, whole, masks, boxes)


def _of_split(table: pd.DataFrame, trivial: pd.DataFrame, threshold: float) -> pd.DataFrame:
    """The controls of one split, from its IoUs and its records of the trivial masks."""
    curve = np.stack(table["curve"].to_list()).mean(0)
    best = int(curve.argmax())
    upper = table.groupby("ref_id")["iou"].transform("max").mean()
    blind = summarise(trivial)
    rows: list[dict[str, Any]] = [
        {"control": "all maps", "mIoU": table["iou"].mean(), "threshold": threshold},
        {"control": "best expression", "mIoU": upper, "threshold": threshold},
        {"control": "best threshold", "mIoU": curve[best], "threshold": THRESHOLDS[best]},
        {"control": "whole image", "mIoU": blind["mIoU"], "oIoU": blind["oIoU"]},
        {"control": "centre", "PointM": blind["PointM"], "PointIt": blind["PointIt"]},
    ]
    made = pd.DataFrame(rows, columns=COLUMNS)
    return made.assign(uses_truth=made["control"].isin(["best expression", "best threshold"]))


def oracle_labels(
    truth: Truth, train: "pd.Series[int]", shape: Literal["mask", "box"]
) -> pd.DataFrame:
    """Pseudo-labels made from the ground truth, for `refine.from`.

    Args:
        train: the refs to label.
        shape: `mask` for the true masks, as LAVT trains on; `box` for all pixels that the (first)
            true box touches, as CTS trains on.

    Returns:
        Columns ref_id, height, width, counts.

    Raises:
        KeyError: if a ref has no true mask.
    """
    labels = truth.encoded(train)
    if shape == "box":
        first = truth.boxes(train)[:, 0]
        boxes = zip(labels["height"], labels["width"], first, strict=True)
        labels["counts"] = [encode(_filled(*box)) for box in boxes]
    return labels


def _filled(height: int, width: int, box: NDArray[np.float64]) -> NDArray[np.bool_]:
    x0, y0, x1, y1 = box
    mask = np.zeros((height, width), dtype=bool)
    mask[max(0, floor(y0)) : ceil(y1), max(0, floor(x0)) : ceil(x1)] = True
    return mask
