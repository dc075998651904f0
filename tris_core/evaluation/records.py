"""Judging response maps, pseudo-labels and predictions against the truth, image by image.

The truth (`truth.parquet`: ref_id, x0, y0, x1, y1, area, height, width, counts) is read here and in the pictures only. Refs
without truth are not in it; whoever calls here hands in those that are.
"""

from collections.abc import Callable, Iterable, Iterator
from itertools import chain, groupby
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from torch import Tensor

from tris_core.data.maps import binarise, divide_by_maximum_, response_to_original
from tris_core.data.rle import decode
from tris_core.evaluation.metrics import iou_per_threshold, score_image, score_masks, summarise
from tris_core.responses.file import raw_maps
from tris_core.runtime.errors import InputError
from tris_core.runtime.files import sha256_of_file
from tris_core.runtime.frames import concat, ready
from tris_core.runtime.threads import map_in_threads

R = TypeVar("R")
NO_RECORDS = score_image(
    [], np.zeros((0, 1, 1)), np.zeros((0, 1, 1)), np.zeros((0, 1, 1)), np.zeros((0, 4))
)
THRESHOLDS = np.round(np.arange(0, 1, 0.02), 2)
SPLIT_ORDER = ("train", "val", "test", "testA", "testB")


def true_masks(truth: pd.DataFrame, ref_ids: Iterable[int]) -> NDArray[np.bool_]:
    """Masks (N, H, W) of refs of one image; `truth` is indexed by ref_id."""
    return np.stack(
        [
            decode(truth.at[i, "counts"], truth.at[i, "height"], truth.at[i, "width"])
            for i in ref_ids
        ]
    )


def true_boxes(truth: pd.DataFrame, ref_ids: Iterable[int]) -> NDArray[np.float64]:
    """Boxes (N, 4) x0, y0, x1, y1 of refs."""
    return np.array([[truth.at[i, side] for side in ("x0", "y0", "x1", "y1")] for i in ref_ids])


def by_image(
    responses: Iterable[pd.DataFrame],
    sizes: pd.DataFrame,
    size: int,
    work: Callable[[pd.DataFrame, Tensor], R],
) -> Iterator[R]:
    """What `work` makes of an image's rows and their maps (N, H, W), divided by their maxima, at the image's size (D49, D50).

    `responses` are tables of whole images (`tris_core.responses.file`); `sizes` the height and width of the image by ref_id, as
    `truth` has; `size` is the training size. Every thread of torch works at another image.
    """

    ready(sizes)

    def of_image(rows: pd.DataFrame) -> R:
        ref_id = rows["ref_id"].iloc[0]
        height, width = sizes.at[ref_id, "height"], sizes.at[ref_id, "width"]
        return work(
            rows,
            divide_by_maximum_(
                response_to_original(raw_maps(rows), size=size, height=height, width=width)
            ),
        )

    return map_in_threads(
        of_image, (rows for table in responses for _, rows in table.groupby("image_id", sort=True))
    )


def score_responses(
    responses: Iterable[pd.DataFrame],
    truth: pd.DataFrame,
    *,
    size: int,
    threshold: float,
    box_input: Literal["binary", "heatmap"],
) -> pd.DataFrame:
    """One record per expression (columns of `tris_core.evaluation.metrics`) for response maps, given as `by_image` takes them."""

    def score(rows: pd.DataFrame, maps: Tensor) -> pd.DataFrame:
        ref_ids, ids = rows["ref_id"].to_numpy(), rows["expression_id"].to_numpy()
        masks, boxes = true_masks(truth, ref_ids), true_boxes(truth, ref_ids)
        return score_image(
            ids, maps.numpy(), binarise(maps, threshold).numpy(), masks, boxes, box_input=box_input
        )

    return concat(chain([NO_RECORDS], by_image(responses, truth, size, score)))


def stored_mask(row: Any) -> NDArray[np.bool_]:
    """The mask (height, width) of a row with expression_id, height, width, counts. Raises `InputError` if it is none."""
    try:
        return decode(row.counts, row.height, row.width)
    except ValueError as error:
        raise InputError(
            f"mask of expression {row.expression_id}: {error}; write it again"
        ) from error


def score_rows(rows: pd.DataFrame, truth: pd.DataFrame) -> pd.DataFrame:
    """One record per expression (columns of `tris_core.evaluation.metrics`) for stored masks, whoever made them.

    `rows`: expression_id, ref_id, height, width, counts and, where points are to be scored, x, y (`score_masks`). Nothing
    else but the truth takes part; boxes are proposed from the masks, as released (D55). Raises `InputError` for runs that
    are no mask.
    """

    def score(ref_id: int, part: list[Any]) -> pd.DataFrame:
        masks = np.stack([stored_mask(row) for row in part])
        points = [(row.x, row.y) for row in part] if "x" in rows else None
        true = true_masks(truth, [ref_id]).repeat(len(part), axis=0)
        boxes = true_boxes(truth, [ref_id]).repeat(len(part), axis=0)
        return score_masks([row.expression_id for row in part], points, masks, true, boxes)

    if rows.empty:
        return NO_RECORDS
    by_ref = groupby(
        rows.sort_values("ref_id", kind="stable").itertuples(), key=lambda row: row.ref_id
    )
    return concat(score(ref_id, list(part)) for ref_id, part in by_ref)


def in_order(splits: "pd.Series[str]") -> list[str]:
    """The splits that occur, in the order people expect."""
    return sorted(
        splits.unique(),
        key=lambda s: (SPLIT_ORDER.index(s) if s in SPLIT_ORDER else len(SPLIT_ORDER), s),
    )


def report(
    records: pd.DataFrame,
    facts: pd.DataFrame,
    about: dict[str, Any],
    *,
    min_box_fraction: float = 0.0,
) -> dict[str, Any]:
    """The full metrics file: `about`, then per split how many images, refs and expressions were judged, and every metric.

    `facts` (split, ref_id, image_id, box_share by expression_id) as `tris_core.evaluation.breakdowns` gives them. With
    `min_box_fraction` above 0 a split is followed by itself over boxes larger than that share of the image, where there
    are any (D56).
    """
    of = facts.loc[records["expression_id"]].reset_index()
    counts, metrics = {}, {}
    for split in in_order(of["split"]):
        rows = {split: of["split"] == split}
        if min_box_fraction:
            rows[f"{split} (boxes over {100 * min_box_fraction:g}%)"] = rows[split] & (
                of["box_share"] > min_box_fraction
            )
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


def threshold_curve(
    responses: Iterable[pd.DataFrame], truth: pd.DataFrame, *, size: int
) -> pd.DataFrame:
    """mIoU of response maps at every single threshold: a row per threshold, a column per split that occurs, in their order."""

    def ious(rows: pd.DataFrame, maps: Tensor) -> pd.DataFrame:
        masks = true_masks(truth, rows["ref_id"].to_numpy())
        return pd.DataFrame(
            iou_per_threshold(maps.numpy(), masks, THRESHOLDS), rows["split"], THRESHOLDS
        )

    nothing = pd.DataFrame(columns=THRESHOLDS, index=pd.Index([], name="split"), dtype=float)
    table = pd.concat([nothing, *by_image(responses, truth, size, ious)]).groupby(level=0).mean().T
    return table.rename_axis(index="threshold", columns=None)[in_order(table.columns.to_series())]


def mask_ious(labels: pd.DataFrame, truth: pd.DataFrame) -> NDArray[np.float64]:
    """IoU of masks (`labels`: counts, height, width, indexed by ref_id) with the truth, one per row; 0 where both are empty."""
    ious = []
    for ref_id, row in labels.iterrows():
        mask = decode(row["counts"], row["height"], row["width"])
        true = true_masks(truth, np.array([ref_id]))[0]
        ious.append((mask & true).sum() / max(1, (mask | true).sum()))
    return np.array(ious)
