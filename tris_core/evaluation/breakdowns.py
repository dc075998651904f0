"""Metrics grouped by kind of expression.

The breakdowns and their groups, in order:

length       number of words: 1-2, 3-5, 6-10, >10
cut          `yes` if the models read only the beginning of the sentence
location     `yes` if one of `LOCATION_WORDS` occurs
category     the name in the annotations, or category_id if they give no name
distractors  other objects of the category in the image that some ref names: 0, 1, 2, 3+
area         share of the image that the true mask covers: small (under 1/300), medium, large
             (3 % and more). These are COCO's 32 x 32 and 96 x 96 pixels in an image of 640 x 480.

Expressions without a category, a true mask or a number of tokens are in the group `unknown`.
"""

import re

import numpy as np
import pandas as pd

from tris_core.data.index import Index
from tris_core.data.truth import Truth
from tris_core.evaluation.metrics import summarise

NAMES = ("length", "cut", "location", "category", "distractors", "area")
# fmt: off
LOCATION_WORDS = frozenset({
    "left", "right", "top", "bottom", "middle", "center", "centre", "mid", "lft", "rt", "btm",
    "upper", "lower", "leftmost", "rightmost", "topmost", "above", "below", "under", "over",
    "beneath", "front", "back", "behind", "foreground", "background", "near", "nearest", "nearer",
    "far", "farthest", "furthest", "closest", "closer", "next", "beside", "between", "corner",
    "edge", "side", "first", "second", "third", "last",
})
# fmt: on
UNKNOWN = "unknown"
SMALL, LARGE = 32 * 32 / (640 * 480), 96 * 96 / (640 * 480)


def describe(index: Index, truth: Truth, cut: "pd.Series[bool] | None") -> pd.DataFrame:
    """Which groups every expression belongs to.

    Args:
        index: its expressions and objects are used.
        truth: the true masks; may lack refs.
        cut: by expression_id; None if it is not known.

    Returns:
        By expression_id: split, ref_id, image_id; box_share, the true box's share of the image,
        missing without a true box; and for each of `NAMES` its group, an ordered categorical.
    """
    table = index.joined().set_index("expression_id")
    kinds = _kinds(index.objects).loc[table["ref_id"]].set_axis(table.index)
    words = table["text"].str.split().str.len()
    area = table["ref_id"].map(truth.area_share)
    is_cut = table.index.to_series().map({} if cut is None else cut)
    area_edges, area_names = [0, SMALL, LARGE, np.inf], ["small", "medium", "large"]
    others_edges, others_names = [-1, 0, 1, 2, np.inf], ["0", "1", "2", "3+"]
    return table[["split", "ref_id", "image_id"]].assign(
        box_share=table["ref_id"].map(truth.box_share),
        length=pd.cut(words, [0, 2, 5, 10, np.inf], labels=["1-2", "3-5", "6-10", ">10"]),
        cut=_yes_or_no(is_cut),
        location=_yes_or_no(table["text"].map(_names_a_place)),
        category=_ordered(kinds["name"], sorted(kinds["name"].dropna().unique())),
        distractors=_known(pd.cut(kinds["others"], others_edges, labels=others_names)),
        area=_known(pd.cut(area, area_edges, right=False, labels=area_names)),
    )


def _kinds(objects: pd.DataFrame) -> pd.DataFrame:
    """Category name and number of distractors by ref_id, missing without a category.

    `name` is the category, or its id; `others` counts the other annotations of the category in
    the image.
    """
    numbers = objects["category_id"].astype("Int64").astype("string")
    kind = ["image_id", "category_id"]
    others = objects.groupby(kind)["ann_id"].nunique().sub(1).rename("others").reset_index()
    table = objects[["ref_id", *kind]].merge(others, on=kind, how="left")
    table["name"] = objects["category"].fillna(numbers).to_numpy()
    return table.set_index("ref_id")[["name", "others"]]


def _names_a_place(text: str) -> bool:
    return not LOCATION_WORDS.isdisjoint(re.findall("[a-z]+", text.lower()))


def _yes_or_no(values: "pd.Series[bool]") -> "pd.Series[str]":
    return _ordered(values.map({True: "yes", False: "no"}), ["yes", "no"])


def _ordered(values: "pd.Series[str]", groups: list[str]) -> "pd.Series[str]":
    return values.fillna(UNKNOWN).astype(pd.CategoricalDtype([*groups, UNKNOWN], ordered=True))


def _known(groups: "pd.Series[str]") -> "pd.Series[str]":
    """The groups of `pd.cut`, with `unknown` for missing values."""
    return groups.cat.add_categories(UNKNOWN).fillna(UNKNOWN)


def break_down(
    records: pd.DataFrame, facts: pd.DataFrame, by: tuple[str, ...] = NAMES
) -> pd.DataFrame:
    """Metrics of every group that occurs.

    Args:
        records: of one split (`tris_core.evaluation.metrics`).
        facts: from `describe`.
        by: the breakdowns to make.

    Returns:
        Columns by, group, expressions, and the metrics of `summarise`.
    """
    groups = facts.loc[records["expression_id"], list(by)].reset_index(drop=True)
    positions = {name: groups.groupby(name, observed=True, sort=True).indices for name in by}
    return pd.DataFrame(
        {"by": name, "group": group, "expressions": len(rows), **summarise(records.iloc[rows])}
        for name in by
        for group, rows in positions[name].items()
    )
