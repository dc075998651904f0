"""Evaluate masks from anywhere by the rules of the pipeline."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from tris_core.data.index import Index
from tris_core.data.rle import encode
from tris_core.data.truth import Truth
from tris_core.evaluation.breakdowns import describe
from tris_core.evaluation.mask_files import read_masks
from tris_core.evaluation.records import digests, full_metrics, in_order, score_rows
from tris_core.runtime.errors import InputError
from tris_core.runtime.files import sha256_of
from tris_core.runtime.parquet import read_table

NO_POINTS = "PointM and PointIt are not measured: the masks come without points (x, y)"


@dataclass(frozen=True)
class Score:
    """The result of `score_file`.

    Attributes:
        content: the metrics file (`tris_core.evaluation.records.full_metrics`).
        records: one row per expression (`tris_core.evaluation.metrics`).
        facts: see `tris_core.evaluation.breakdowns.describe`.
        remarks: lines for the reader about masks and expressions that were left out.
    """

    content: dict[str, Any]
    records: pd.DataFrame
    facts: pd.DataFrame
    remarks: list[str]


def score_file(
    path: Path, split: str, index: Path, *, missing: Literal["error", "empty"] = "error"
) -> Score:
    """Evaluate the masks in a file for every expression of a split.

    Masks of other splits are ignored, with a remark.

    Args:
        path: see `tris_core.evaluation.mask_files.read_masks`.
        index: the folder of the index; truth.parquet and tokens.parquet are beside it.
        missing: whether an expression without a mask is an error, or has an empty mask and no
            point.

    Raises:
        InputError: for a missing mask (unless `missing="empty"`), an unknown expression, a mask
            of another size than its image, a point outside it, or a split without expressions.
    """
    truth, facts = _open(index)
    measured = _measured(facts, truth, split, index)
    masks = read_masks(path)
    rows = _rows_of(masks, measured, facts, truth, path, index)
    absent = measured.index.difference(rows["expression_id"])
    if len(absent) and missing == "error":
        found = f"{len(absent)} of {len(measured)} expressions of {split} have no mask"
        fix = "add them, or count them as empty masks (--missing empty)"
        raise InputError(f"{path}: {found}, first {absent[0]}; {fix}")
    if len(absent):
        empty = _empty(measured.loc[absent, "ref_id"], truth, with_points="x" in masks)
        rows = pd.concat([rows, empty], ignore_index=True)
    records = score_rows(rows, truth)
    about = {
        "masks": str(path),
        "rule": "masks as given, at the image's own size",
        "box_input": "binary",
        "missing_counted_as_empty": len(absent),
        "not_measured": [] if "x" in masks else ["PointM", "PointIt"],
        "sha256": {**_digests_of(path), **digests(_truth_of(index))},
    }
    of_split = int((facts["split"] == split).sum())
    counted = {
        "masks of other expressions ignored": len(masks) - (len(measured) - len(absent)),
        "expressions without a true mask left out": of_split - len(measured),
        "expressions without a mask counted as empty masks": len(absent),
    }
    remarks = [f"{count} {what}" for what, count in counted.items() if count]
    if "x" not in masks:
        remarks.append(NO_POINTS)
    return Score(full_metrics(records, facts, about), records, facts, remarks)


def _truth_of(index: Path) -> Path:
    return index.with_name("truth.parquet")


def _open(folder: Path) -> tuple[Truth, pd.DataFrame]:
    """The truth of an index, and the facts about its expressions."""
    needed = [folder / "expressions.parquet", folder / "refs.parquet", _truth_of(folder)]
    for path in needed:
        if not path.is_file():
            fix = "make the index (`dvc repro index`) or name its folder"
            raise InputError(f"{path}: not found; {fix}")
    truth = Truth.open(_truth_of(folder))
    tokens = folder.with_name("tokens.parquet")  # an index made alone has none
    cut = read_table(tokens).set_index("expression_id")["cut"] if tokens.is_file() else None
    return truth, describe(Index.open(folder), truth, cut)


def _measured(facts: pd.DataFrame, truth: Truth, split: str, index: Path) -> pd.DataFrame:
    """The facts about the expressions of a split that have a true mask."""
    of_split = facts[facts["split"] == split]
    if of_split.empty:
        known = ", ".join(in_order(facts["split"]))
        raise InputError(f"split {split!r} has no expressions; {index} has {known}")
    measured = of_split[truth.covers(of_split["ref_id"])]
    if measured.empty:
        found = f"no true mask of split {split!r}"
        raise InputError(f"{_truth_of(index)}: {found}; nothing can be measured there")
    return measured


def _rows_of(
    masks: pd.DataFrame,
    measured: pd.DataFrame,
    facts: pd.DataFrame,
    truth: Truth,
    path: Path,
    index: Path,
) -> pd.DataFrame:
    """The masks of the measured expressions with their ref_id, checked against their images."""
    unknown = masks["expression_id"][~masks["expression_id"].isin(facts.index)]
    if len(unknown):
        found = f"{len(unknown)} expressions are not in {index}, first {unknown.iloc[0]}"
        raise InputError(f"{path}: {found}; remove them")
    rows = measured[["ref_id"]].merge(masks, on="expression_id")
    rows = rows.join(truth.sizes, on="ref_id", rsuffix="_true")
    _check_sizes(rows, path)
    if "x" in rows:
        _check_points(rows, path)
    return rows


def _check_sizes(rows: pd.DataFrame, path: Path) -> None:
    """Raise `InputError` for the first mask of another size than its image."""
    other = rows[(rows["height"] != rows["height_true"]) | (rows["width"] != rows["width_true"])]
    if len(other):
        row = other.iloc[0]
        raise InputError(
            f"{path}: {len(other)} masks have another size than their image, "
            f"first expression {row['expression_id']}: "
            f"{row['height']} x {row['width']} (height x width), "
            f"the image {row['height_true']} x {row['width_true']}"
        )


def _check_points(rows: pd.DataFrame, path: Path) -> None:
    """Raise `InputError` for the first point outside its image."""
    inside = rows["x"].between(0, rows["width"] - 1) & rows["y"].between(0, rows["height"] - 1)
    if not inside.all():
        row = rows[~inside].iloc[0]
        raise InputError(
            f"{path}: {(~inside).sum()} points lie outside their image, "
            f"first expression {row['expression_id']}: "
            f"x {row['x']}, y {row['y']} in {row['height']} x {row['width']} (height x width)"
        )


def _empty(ref_of: "pd.Series[int]", truth: Truth, *, with_points: bool) -> pd.DataFrame:
    """Rows of empty masks, with no point where others have one.

    `ref_of` is the ref_id by expression_id.
    """
    rows = ref_of.reset_index().join(truth.sizes, on="ref_id")
    sizes = zip(rows["height"], rows["width"], strict=True)
    rows = rows.assign(counts=[encode(np.zeros(size, bool)) for size in sizes])
    return rows.assign(x=-1, y=-1) if with_points else rows


def _digests_of(path: Path) -> dict[str, str]:
    """SHA-256 of a file, or of the files of a folder together, by path."""
    return {str(path): sha256_of(sorted(path.iterdir()))} if path.is_dir() else digests(path)
