"""Why a mask is wrong: every expression with a true mask is of exactly one kind, told from pixels alone.

`MEANING` has the definitions, the first that holds counts. The target is the true mask; other objects are those of the
image's other annotations that some ref of the data set names, without the target's pixels. An object that no ref names
is not in the index: here it is background.
"""

from collections.abc import Sequence
from enum import StrEnum

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tris_core.evaluation.records import stored_mask, true_masks

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


_WRONG = "at most half of the target is marked, and more of the mask lies in another object than in the target; that one"
_LEAK = "all others: more than the target is marked, or something beside it;"
MEANING = {
    Kind.CORRECT: "IoU of at least 0.5, as P@0.5 counts",
    Kind.NOTHING: "the mask is empty",
    Kind.PART: "at least half of the mask lies in the target, and no less of the target is missed than is marked beside it",
    Kind.SAME: f"{_WRONG} is of the target's category",
    Kind.OTHER: f"{_WRONG} is of another category",
    Kind.UNKNOWN: f"{_WRONG} has no category in the annotations, or the target has none",
    Kind.OBJECTS: f"{_LEAK} of the surplus, more than half lies in other objects",
    Kind.BACKGROUND: f"{_LEAK} of the surplus, at least half lies in no other object",
}


def failure_kind(
    predicted: Mask, truth: Mask, others: NDArray[np.bool_], same: Sequence[bool | None]
) -> Kind:
    """The kind of one prediction (H, W), given the target (H, W) and the image's other objects (M, H, W).

    `same` (M) says which of these are of the target's category; None is not known.
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
        return {True: Kind.SAME, False: Kind.OTHER, None: Kind.UNKNOWN}[
            same[int(np.argmax(marked))]
        ]
    on_objects = np.count_nonzero(beside & others.any(axis=0)) if len(others) else 0
    return Kind.OBJECTS if 2 * on_objects > surplus else Kind.BACKGROUND


def failure_kinds(masks: pd.DataFrame, truth: pd.DataFrame, refs: pd.DataFrame) -> "pd.Series[str]":
    """The kind (a `Kind`) of every row of `masks` whose ref has a true mask, by expression_id.

    `masks`: expression_id, ref_id, height, width, counts. `truth` by ref_id and `refs` as the index holds them. Raises
    `InputError` for runs that are no mask.
    """
    known = refs[refs["ref_id"].isin(truth.index)]
    objects = known.drop_duplicates(["image_id", "ann_id"])
    positions = objects.groupby("image_id").indices
    of = known.set_index("ref_id")
    kinds: dict[int, Kind] = {}
    for ref_id, rows in masks[masks["ref_id"].isin(known["ref_id"])].groupby("ref_id"):
        target = of.loc[ref_id]
        others = objects.iloc[positions[target["image_id"]]]
        others = others[others["ann_id"] != target["ann_id"]]
        same = [_same(target["category"], category) for category in others["category"]]
        true, *rest = true_masks(truth, np.array([ref_id, *others["ref_id"]]))
        beside = np.stack(rest) if rest else np.zeros((0, *true.shape), bool)
        for row in rows.itertuples():
            kinds[row.expression_id] = failure_kind(stored_mask(row), true, beside, same)
    return pd.Series(kinds, dtype=object).rename_axis("expression_id").sort_index()


def _same(one: object, other: object) -> bool | None:
    return None if pd.isna(one) or pd.isna(other) else bool(one == other)
