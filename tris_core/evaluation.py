"""Judging response maps, pseudo-labels and predictions against the truth, image by image.

The truth (`truth.parquet`: ref_id, x0, y0, x1, y1, area, height, width, counts) is read here and in the pictures only. Refs
without truth are not in it; whoever calls here hands in those that are.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from tris_core.data.rle import decode
from tris_core.errors import InputError
from tris_core.files import sha256_of_file
from tris_core.maps import binarise, normalise, response_to_original
from tris_core.metrics import iou_per_threshold, score_image, score_masks, summarise

NO_RECORDS = score_image([], np.zeros((0, 1, 1)), np.zeros((0, 1, 1)), np.zeros((0, 1, 1)), np.zeros((0, 4)))
THRESHOLDS = np.round(np.arange(0, 1, 0.02), 2)
SPLIT_ORDER = ("train", "val", "test", "testA", "testB")


def true_masks(truth: pd.DataFrame, ref_ids: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Masks (N, H, W) of refs of one image; `truth` is indexed by ref_id."""
    return np.stack([decode(truth.at[i, "counts"], truth.at[i, "height"], truth.at[i, "width"]) for i in ref_ids])


def true_boxes(truth: pd.DataFrame, ref_ids: NDArray[np.int64]) -> NDArray[np.float64]:
    """Boxes (N, 4) x0, y0, x1, y1 of refs."""
    return truth.loc[ref_ids, ["x0", "y0", "x1", "y1"]].to_numpy()


def by_image(responses: pd.DataFrame, sizes: pd.DataFrame, size: int) -> Iterator[tuple[pd.DataFrame, Tensor]]:
    """Rows of one image at a time, with their maps (N, H, W) at the image's own size, divided by their maxima (D49, D50).

    `responses` has expression_id, ref_id, image_id, height, width (of the map) and map; `sizes` the
    height and width of the image by ref_id, as `truth` has; `size` is the training size.
    """
    for _, rows in responses.groupby("image_id", sort=True):
        raw = torch.from_numpy(np.stack(rows["map"].to_list())).view(len(rows), rows["height"].iloc[0], -1)
        size_of = sizes.loc[rows["ref_id"].iloc[0], ["height", "width"]]
        yield rows, normalise(response_to_original(raw, size=size, height=size_of["height"], width=size_of["width"]))


def score_responses(
    responses: pd.DataFrame,
    truth: pd.DataFrame,
    *,
    size: int,
    threshold: float,
    box_input: Literal["binary", "heatmap"],
) -> pd.DataFrame:
    """One record per expression (columns of `tris_core.metrics`) for Step-1's response maps."""
    records = [NO_RECORDS]
    for rows, maps in by_image(responses, truth, size):
        ref_ids, mask = rows["ref_id"].to_numpy(), binarise(maps, threshold).numpy()
        masks, boxes = true_masks(truth, ref_ids), true_boxes(truth, ref_ids)
        records.append(score_image(rows["expression_id"].to_numpy(), maps.numpy(), mask, masks, boxes, box_input=box_input))
    return pd.concat(records, ignore_index=True)


def stored_mask(row: Any) -> NDArray[np.bool_]:
    """The mask (height, width) of a row with expression_id, height, width, counts. Raises `InputError` if it is none."""
    try:
        return decode(row.counts, row.height, row.width)
    except ValueError as error:
        raise InputError(f"mask of expression {row.expression_id}: {error}; write it again") from error


def score_rows(rows: pd.DataFrame, truth: pd.DataFrame) -> pd.DataFrame:
    """One record per expression (columns of `tris_core.metrics`) for stored masks, whoever made them.

    `rows`: expression_id, ref_id, height, width, counts and, where points are to be scored, x, y (`score_masks`). Nothing
    else but the truth takes part; boxes are proposed from the masks, as released (D55). Raises `InputError` for runs that
    are no mask.
    """
    records = [] if len(rows) else [NO_RECORDS]
    for ref_id, part in rows.groupby("ref_id", sort=True):
        refs = np.full(len(part), ref_id)
        masks = [stored_mask(row) for row in part.itertuples()]
        points = part[["x", "y"]].to_numpy() if "x" in part else None
        true = np.repeat(true_masks(truth, refs[:1]), len(part), axis=0)
        ids = part["expression_id"].to_numpy()
        records.append(score_masks(ids, points, np.stack(masks), true, true_boxes(truth, refs)))
    return pd.concat(records, ignore_index=True)


def in_order(splits: "pd.Series[str]") -> list[str]:
    """The splits that occur, in the order people expect."""
    return sorted(splits.unique(), key=lambda s: (SPLIT_ORDER.index(s) if s in SPLIT_ORDER else len(SPLIT_ORDER), s))


def report(
    records: pd.DataFrame, facts: pd.DataFrame, about: dict[str, Any], *, min_box_fraction: float = 0.0
) -> dict[str, Any]:
    """The full metrics file: `about`, then per split how many images, refs and expressions were judged, and every metric.

    `facts` (split, ref_id, image_id, box_share by expression_id) as `tris_core.breakdowns` gives them. With
    `min_box_fraction` above 0 a split is followed by itself over boxes larger than that share of the image, where there
    are any (D56).
    """
    of = facts.loc[records["expression_id"]].reset_index()
    counts, metrics = {}, {}
    for split in in_order(of["split"]):
        rows = {split: of["split"] == split}
        if min_box_fraction:
            rows[f"{split} (boxes over {100 * min_box_fraction:g}%)"] = rows[split] & (of["box_share"] > min_box_fraction)
        for name, chosen in rows.items():
            if not chosen.any():
                continue
            counts[name] = {
                "images": int(of.loc[chosen, "image_id"].nunique()),
                "refs": int(of.loc[chosen, "ref_id"].nunique()),
                "expressions": int(chosen.sum()),
            }
            metrics[name] = summarise(records[chosen.to_numpy()])
    return {**about, "counts": counts, "metrics": metrics}


def digests(*paths: Path) -> dict[str, str]:
    """SHA-256 of files by their paths, as `sha256sum` prints it."""
    return {str(path): sha256_of_file(path) for path in paths}


def threshold_curve(responses: pd.DataFrame, truth: pd.DataFrame, *, size: int) -> pd.DataFrame:
    """mIoU of response maps at every single threshold: columns threshold, mIoU."""
    ious = [
        iou_per_threshold(maps.numpy(), true_masks(truth, rows["ref_id"].to_numpy()), THRESHOLDS)
        for rows, maps in by_image(responses, truth, size)
    ]
    return pd.DataFrame({"threshold": THRESHOLDS, "mIoU": np.concatenate(ious).mean(0)})


def mask_ious(labels: pd.DataFrame, truth: pd.DataFrame) -> NDArray[np.float64]:
    """IoU of masks (`labels`: counts, height, width, indexed by ref_id) with the truth, one per row; 0 where both are empty."""
    ious = []
    for ref_id, row in labels.iterrows():
        mask = decode(row["counts"], row["height"], row["width"])
        true = true_masks(truth, np.array([ref_id]))[0]
        ious.append((mask & true).sum() / max(1, (mask | true).sum()))
    return np.array(ious)
