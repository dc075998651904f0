"""Why a mask is wrong: every expression with a true mask has exactly one kind of failure.

`MEANING` defines the kinds; the first that applies counts. The target is the true mask. Other
objects are the other annotations of the image that some ref of the data set names, without the
pixels of the target. An object that no ref names is not in the index, so it counts as background.
"""

from collections.abc import Sequence
from enum import StrEnum

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tris_core.data.truth import Truth
from tris_core.evaluation.records import stored_mask

Mask = NDArray[np.bool_]


class Kind(StrEnum):
    CORRECT = "correct"
    SAME = "wrong object, same category"
    OTHER = "wrong object, other category"
    UNKNOWN = "wrong object, category not given"
    PART = "part only"
    OBJECTS = "leak into other objects"
    BACKGROUND = "leak into background"
    NOTHING = "nothing marked"


_WRONG = (
    "at most half of the target is marked, and more of the mask lies in another object than in "
    "the target; that object"
)
_LEAK = "all others; more than half of the surplus"
MEANING = {
    Kind.CORRECT: "IoU of at least 0.5, as in P@0.5",
    Kind.NOTHING: "the mask is empty",
    Kind.PART: "at least half of the mask lies in the target, and the target's missed pixels are "
    "at least as many as the mask's pixels beside it",
    Kind.SAME: f"{_WRONG} is of the target's category",
    Kind.OTHER: f"{_WRONG} is of another category",
    Kind.UNKNOWN: f"{_WRONG} or the target has no category in the annotations",
    Kind.OBJECTS: f"{_LEAK} lies in other objects",
    Kind.BACKGROUND: "all others; at least half of the surplus lies in no other object",
}


def failure_kind(
    predicted: Mask, truth: Mask, others: NDArray[np.bool_], same: Sequence[bool | None]
) -> Kind:
    """The kind of one prediction.

    Args:
        predicted, truth: masks (H, W).
        others: the image's M other objects (M, H, W).
        same: for each of them, whether it is of the target's category; None if unknown.
    """
    hit = np.count_nonzero(predicted & truth)
    surplus, missed = np.count_nonzero(predicted) - hit, np.count_nonzero(truth) - hit
    if 2 * hit >= hit + surplus + missed and hit:
        return Kind.CORRECT
    if not hit + surplus:
        return Kind.NOTHING
    if hit >= surplus and missed >= surplus:
        return Kind.PART
    beside = predicted & ~truth
    marked = [np.count_nonzero(beside & other) for other in others]
    if hit <= missed and max(marked, default=0) > hit:
        kinds = {True: Kind.SAME, False: Kind.OTHER, None: Kind.UNKNOWN}
        return kinds[same[int(np.argmax(marked))]]
    on_objects = np.count_nonzero(beside & others.any(axis=0)) if len(others) else 0
    return Kind.OBJECTS if 2 * on_objects > surplus else Kind.BACKGROUND


def failure_kinds(masks: pd.DataFrame, truth: Truth, objects: pd.DataFrame) -> "pd.Series[str]":
    """The kind (a `Kind`) of every mask whose ref has a true mask, by expression_id.

    Args:
        masks: expression_id, ref_id, height, width, counts.
        objects: see `tris_core.data.index.Index.objects`.

    Raises:
        InputError: if counts do not encode a mask of their size.
    """
    known = objects[truth.covers(objects["ref_id"])]
    distinct = known.drop_duplicates(["image_id", "ann_id"])
    positions = distinct.groupby("image_id").indices
    of = known.set_index("ref_id")
    kinds: dict[int, Kind] = {}
    for ref_id, rows in masks[masks["ref_id"].isin(known["ref_id"])].groupby("ref_id"):
        target = of.loc[ref_id]
        others = distinct.iloc[positions[target["image_id"]]]
        others = others[others["ann_id"] != target["ann_id"]]
        same = [_same(target["category"], category) for category in others["category"]]
        true, *rest = truth.masks([ref_id, *others["ref_id"]])
        beside = np.stack(rest) if rest else np.zeros((0, *true.shape), bool)
        for row in rows.itertuples():
            kinds[row.expression_id] = failure_kind(stored_mask(row), true, beside, same)
    return pd.Series(kinds, dtype=object).rename_axis("expression_id").sort_index()


def _same(one: object, other: object) -> bool | None:
    return None if pd.isna(one) or pd.isna(other) else bool(one == other)
