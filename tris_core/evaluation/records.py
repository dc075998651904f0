"""Measuring response maps, pseudo-labels and predictions against the ground truth.

Expressions and refs without a true mask are not measured; callers leave them out.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import chain, groupby
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from torch import Tensor

from tris_core.data.maps import binarise, mask_iou, normalised_at
from tris_core.data.rle import decode
from tris_core.data.truth import Truth
from tris_core.evaluation.metrics import iou_per_threshold, score_image, score_masks, summarise
from tris_core.responses.file import raw_maps
from tris_core.runtime.errors import InputError
from tris_core.runtime.files import sha256_of_file
from tris_core.runtime.frames import concat, ready
from tris_core.runtime.threads import map_in_threads

R = TypeVar("R")
NO_MASKS = np.zeros((0, 1, 1))
NO_RECORDS = score_image([], NO_MASKS, NO_MASKS, NO_MASKS, np.zeros((0, 4)))
THRESHOLDS = np.round(np.arange(0, 1, 0.02), 2)
SPLIT_ORDER = ("train", "val", "test", "testA", "testB")


def by_image(
    responses: Iterable[pd.DataFrame],
    sizes: pd.DataFrame,
    size: int,
    work: Callable[[pd.DataFrame, Tensor], R],
) -> Iterator[R]:
    """Call `work` for every image, in order, each call in one of torch's threads.

    Args:
        responses: tables of whole images (`tris_core.responses.file`).
        sizes: height and width of the image, by ref_id.
        size: the training size, in pixels.
        work: takes the rows of an image and their maps (N, H, W), at the image's own size and
            divided by their maxima.
    """
    ready(sizes)
    images = (rows for table in responses for _, rows in table.groupby("image_id", sort=True))
    return map_in_threads(_AtImageSize(sizes, size, work), images)


@dataclass(frozen=True)
class _AtImageSize(Generic[R]):
    """Calls `work` with the rows of an image and their maps at its size."""

    sizes: pd.DataFrame
    size: int
    work: Callable[[pd.DataFrame, Tensor], R]

    def __call__(self, rows: pd.DataFrame) -> R:
        ref_id = rows["ref_id"].iloc[0]
        height, width = (self.sizes.at[ref_id, side] for side in ("height", "width"))
        maps = normalised_at(raw_maps(rows), size=self.size, height=height, width=width)
        return self.work(rows, maps)


def score_responses(
    responses: Iterable[pd.DataFrame],
    truth: Truth,
    *,
    size: int,
    threshold: float,
    box_input: Literal["binary", "heatmap"],
) -> pd.DataFrame:
    """One record per expression (`tris_core.evaluation.metrics`) for response maps.

    Args:
        responses, size: as in `by_image`; every ref has a true mask.
        threshold: a pixel is foreground if its response, divided by the maximum, is above it.
        box_input: as in `score_image`.
    """
    score = partial(_score_maps, truth=truth, threshold=threshold, box_input=box_input)
    return concat(chain([NO_RECORDS], by_image(responses, truth.sizes, size, score)))


def _score_maps(
    rows: pd.DataFrame,
    maps: Tensor,
    *,
    truth: Truth,
    threshold: float,
    box_input: Literal["binary", "heatmap"],
) -> pd.DataFrame:
    ref_ids, ids = rows["ref_id"].to_numpy(), rows["expression_id"].to_numpy()
    predicted = binarise(maps, threshold).numpy()
    masks, boxes = truth.masks(ref_ids), truth.boxes(ref_ids)
    return score_image(ids, maps.numpy(), predicted, masks, boxes, box_input=box_input)


def stored_mask(row: Any) -> NDArray[np.bool_]:
    """The mask (height, width) of a row with expression_id, height, width and counts.

    Raises `InputError` if the counts do not encode a mask of that size.
    """
    try:
        return decode(row.counts, row.height, row.width)
    except ValueError as error:
        where = f"mask of expression {row.expression_id}"
        raise InputError(f"{where}: {error}; write it again") from error


def score_rows(rows: pd.DataFrame, truth: Truth) -> pd.DataFrame:
    """One record per expression (`tris_core.evaluation.metrics`) for stored masks of any origin.

    Boxes are proposed from the masks, as released (docs/paper_vs_code.md#box-proposals).

    Args:
        rows: expression_id, ref_id, height, width, counts and, to score points, x and y.
        truth: has a mask for every ref in `rows`.

    Raises:
        InputError: if counts do not encode a mask of their size.
    """
    if rows.empty:
        return NO_RECORDS
    ordered = rows.sort_values("ref_id", kind="stable").itertuples()
    by_ref = groupby(ordered, key=lambda row: row.ref_id)
    return concat(_score_ref(ref_id, list(part), truth) for ref_id, part in by_ref)


def _score_ref(ref_id: int, rows: list[Any], truth: Truth) -> pd.DataFrame:
    masks = np.stack([stored_mask(row) for row in rows])
    points = [(row.x, row.y) for row in rows] if hasattr(rows[0], "x") else None
    true = truth.masks([ref_id]).repeat(len(rows), axis=0)
    boxes = truth.boxes([ref_id]).repeat(len(rows), axis=0)
    return score_masks([row.expression_id for row in rows], points, masks, true, boxes)


def in_order(splits: "pd.Series[str]") -> list[str]:
    """The splits that occur, in the usual order; unknown names last, sorted."""
    known = {split: number for number, split in enumerate(SPLIT_ORDER)}
    return sorted(splits.unique(), key=lambda split: (known.get(split, len(known)), split))


def full_metrics(
    records: pd.DataFrame,
    facts: pd.DataFrame,
    about: dict[str, Any],
    *,
    min_box_fraction: float = 0.0,
) -> dict[str, Any]:
    """The content of metrics.json.

    Args:
        records: of any splits.
        facts: split, ref_id, image_id and box_share by expression_id
            (`tris_core.evaluation.breakdowns.describe`).
        about: how the records were made; copied into the result.
        min_box_fraction: if above 0, every split is followed by its part with boxes larger than
            this share of the image (docs/paper_vs_code.md#box-filter).

    Returns:
        `about`, then `counts` (images, refs, expressions) and `metrics` by split.
    """
    of = facts.loc[records["expression_id"]].reset_index()
    large = of["box_share"] > min_box_fraction
    counts, metrics = {}, {}
    for split in in_order(of["split"]):
        parts = {split: of["split"] == split}
        if min_box_fraction:
            parts[f"{split} (boxes over {100 * min_box_fraction:g}%)"] = parts[split] & large
        for name, chosen in parts.items():
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
    """SHA-256 of files by path, in hex."""
    return {str(path): sha256_of_file(path) for path in paths}


def threshold_curve(responses: Iterable[pd.DataFrame], truth: Truth, *, size: int) -> pd.DataFrame:
    """mIoU of response maps, in [0, 1]: one row per threshold, one column per split.

    `responses` and `size` as in `by_image`; every ref has a true mask.
    """

    def ious(rows: pd.DataFrame, maps: Tensor) -> pd.DataFrame:
        found = iou_per_threshold(maps.numpy(), truth.masks(rows["ref_id"]), THRESHOLDS)
        return pd.DataFrame(found, rows["split"], THRESHOLDS)

    nothing = pd.DataFrame(columns=THRESHOLDS, index=pd.Index([], name="split"), dtype=float)
    parts = by_image(responses, truth.sizes, size, ious)
    table = pd.concat([nothing, *parts]).groupby(level=0).mean().T
    return table.rename_axis(index="threshold", columns=None)[in_order(table.columns.to_series())]


def mask_ious(labels: pd.DataFrame, truth: Truth) -> NDArray[np.float64]:
    """IoU of every mask with the true one, (N,) in [0, 1].

    `labels` has counts, height and width, by ref_id.
    """
    rows = labels[["counts", "height", "width"]].itertuples()
    return np.array([mask_iou(decode(*mask), truth.mask(ref_id)) for ref_id, *mask in rows])
