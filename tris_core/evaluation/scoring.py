"""Judging masks made anywhere by the rules of the pipeline."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from tris_core.data.rle import encode
from tris_core.evaluation.breakdowns import describe
from tris_core.evaluation.mask_files import read_masks
from tris_core.evaluation.records import digests, in_order, report, score_rows
from tris_core.runtime.errors import InputError
from tris_core.runtime.files import sha256_of
from tris_core.runtime.parquet import read_table


@dataclass(frozen=True)
class Score:
    """`content`: the metrics file (`tris_core.evaluation.records.report`, with what the masks were and what was not measured).

    `records` by expression, `facts` as `tris_core.evaluation.breakdowns.describe` gives them; `remarks` for the reader, one a line.
    """

    content: dict[str, Any]
    records: pd.DataFrame
    facts: pd.DataFrame
    remarks: list[str]


def score_file(
    path: Path, split: str, index: Path, *, missing: Literal["error", "empty"] = "error"
) -> Score:
    """Judge the masks of a file (`tris_core.evaluation.mask_files.read_masks`) for every expression of a split of an index.

    Masks of other splits are left aside, and said so. With `missing="empty"` an expression without a mask counts as one
    with an empty mask and no point. Raises `InputError` for a missing mask otherwise, for an expression that the index
    does not know, a mask of another size than its image, a point outside it, and a split without expressions.
    """
    expressions, refs, truth = (
        _read_index(index, table) for table in ("expressions", "refs", "truth")
    )
    truth = truth.set_index("ref_id")
    tokens = index.with_name("tokens.parquet")  # an index made alone has none
    cut = read_table(tokens).set_index("expression_id")["cut"] if tokens.is_file() else None
    facts = describe(expressions, refs, truth, cut)
    masks = read_masks(path)
    strange = masks["expression_id"][~masks["expression_id"].isin(facts.index)]
    if len(strange):
        raise InputError(
            f"{path}: {len(strange)} expressions are not in {index}, first {strange.iloc[0]}; remove them"
        )
    if split not in set(facts["split"]):
        raise InputError(
            f"split {split!r} has no expressions; {index} has {', '.join(in_order(facts['split']))}"
        )
    of_split = facts[facts["split"] == split]
    asked = of_split[of_split["ref_id"].isin(truth.index)]
    if asked.empty:
        raise InputError(
            f"{index.with_name('truth.parquet')}: no true mask of split {split!r}; nothing can be judged there"
        )
    rows = (
        asked[["ref_id"]]
        .merge(masks, on="expression_id")
        .join(truth[["height", "width"]], on="ref_id", rsuffix="_true")
    )
    _check(rows, path)
    absent = asked.index.difference(rows["expression_id"])
    if len(absent) and missing == "error":
        fix = "add them, or count them as empty masks (--missing empty)"
        raise InputError(
            f"{path}: {len(absent)} of {len(asked)} expressions of {split} have no mask, first {absent[0]}; {fix}"
        )
    empty = _empty(asked.loc[absent, "ref_id"], truth, with_points="x" in masks)
    records = score_rows(pd.concat([rows, empty], ignore_index=True) if len(empty) else rows, truth)
    about = {
        "masks": str(path),
        "rule": "masks as given, at the image's own size",
        "box_input": "binary",
        "missing_counted_as_empty": len(absent),
        "not_measured": [] if "x" in masks else ["PointM", "PointIt"],
        "sha256": {
            **({str(path): sha256_of(sorted(path.iterdir()))} if path.is_dir() else digests(path)),
            **digests(index.with_name("truth.parquet")),
        },
    }
    remarks = {
        "masks of other expressions left aside": len(masks) - len(rows),
        "expressions without a true mask left out": len(of_split) - len(asked),
        "expressions without a mask counted as empty masks": len(absent),
    }
    said = [f"{count} {what}" for what, count in remarks.items() if count]
    if "x" not in masks:
        said.append("PointM and PointIt are not measured: the masks come without points (x, y)")
    return Score(report(records, facts, about), records, facts, said)


def _read_index(index: Path, table: str) -> pd.DataFrame:
    folder = index.parent if table == "truth" else index
    path = folder / f"{table}.parquet"
    if not path.is_file():
        raise InputError(
            f"{path}: not found; make the index (`dvc repro index`) or name its folder"
        )
    return read_table(path)


def _check(rows: pd.DataFrame, path: Path) -> None:
    """Raises `InputError` for the first mask of another size than its image, and the first point outside its image."""
    other = rows[(rows["height"] != rows["height_true"]) | (rows["width"] != rows["width_true"])]
    if len(other):
        row = other.iloc[0]
        raise InputError(
            f"{path}: {len(other)} masks have another size than their image, first expression {row['expression_id']}: "
            f"{row['height']} x {row['width']} (height x width), the image {row['height_true']} x {row['width_true']}"
        )
    if "x" in rows:
        inside = rows["x"].between(0, rows["width"] - 1) & rows["y"].between(0, rows["height"] - 1)
        if not inside.all():
            row = rows[~inside].iloc[0]
            raise InputError(
                f"{path}: {(~inside).sum()} points lie outside their image, first expression {row['expression_id']}: "
                f"x {row['x']}, y {row['y']} in {row['height']} x {row['width']} (height x width)"
            )


def _empty(ref_of: "pd.Series[int]", truth: pd.DataFrame, *, with_points: bool) -> pd.DataFrame:
    """Rows of empty masks for expressions (`ref_of`: ref_id by expression_id), with no point where others have one."""
    rows = ref_of.reset_index().join(truth[["height", "width"]], on="ref_id")
    sizes = zip(rows["height"], rows["width"], strict=True)
    rows = rows.assign(counts=[encode(np.zeros(size, bool)) for size in sizes])
    return rows.assign(x=-1, y=-1) if with_points else rows
