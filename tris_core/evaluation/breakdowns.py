"""Metrics by what kind of expression it is: how long, of which category, how many like it stand beside it, how large, where.

Groups of every breakdown, in their order:

length       words between blanks: 1-2, 3-5, 6-10, >10
cut          `yes` where the models read the beginning of the sentence only
location     `yes` where a word of `LOCATION_WORDS` occurs, `no` elsewhere
category     its name in the annotations, category_id where they give none
distractors  other objects of the category in the image that some ref of the data set names: 0, 1, 2, 3+
area         share of the image the true mask fills. small: under 1/300, large: 3 % and more (COCO's 32 x 32 and 96 x 96
             pixels of its usual 640 x 480), medium: between

`unknown` is the group of what has no category, no true mask, or no count of tokens.
"""

import re

import numpy as np
import pandas as pd

from tris_core.evaluation.metrics import summarise

NAMES = ("length", "cut", "location", "category", "distractors", "area")
# fmt: off
LOCATION_WORDS = frozenset({
    "left", "right", "top", "bottom", "middle", "center", "centre", "mid", "lft", "rt", "btm", "upper", "lower",
    "leftmost", "rightmost", "topmost", "above", "below", "under", "over", "beneath", "front", "back", "behind",
    "foreground", "background", "near", "nearest", "nearer", "far", "farthest", "furthest", "closest", "closer", "next",
    "beside", "between", "corner", "edge", "side", "first", "second", "third", "last",
})
# fmt: on
UNKNOWN = "unknown"
SMALL, LARGE = 32 * 32 / (640 * 480), 96 * 96 / (640 * 480)


def describe(
    expressions: pd.DataFrame,
    refs: pd.DataFrame,
    truth: pd.DataFrame,
    cut: "pd.Series[bool] | None",
) -> pd.DataFrame:
    """By expression_id: split, ref_id, image_id, box_share (of the image), and per breakdown of `NAMES` the group.

    Groups are ordered categoricals; box_share is missing where the truth is.

    `expressions`, `refs` and `truth` as the index holds them, `truth` indexed by ref_id; `cut` by expression_id.
    """
    table = expressions.merge(refs, on="ref_id", validate="many_to_one").set_index("expression_id")
    words = table["text"].str.split().str.len()
    share = table["ref_id"].map(truth["area"] / (truth["height"] * truth["width"]))
    categories = table["category"].fillna(table["category_id"].astype("Int64").astype("string"))
    boxes = (
        (truth["x1"] - truth["x0"])
        * (truth["y1"] - truth["y0"])
        / (truth["height"] * truth["width"])
    )
    return table[["split", "ref_id", "image_id"]].assign(
        box_share=table["ref_id"].map(boxes),
        length=pd.cut(words, [0, 2, 5, 10, np.inf], labels=["1-2", "3-5", "6-10", ">10"]),
        cut=_ordered(
            table.index.to_series().map({} if cut is None else cut).map({True: "yes", False: "no"}),
            ["yes", "no"],
        ),
        location=_ordered(
            table["text"].map(_names_a_place).map({True: "yes", False: "no"}), ["yes", "no"]
        ),
        category=_ordered(categories, sorted(categories.dropna().unique())),
        distractors=pd.cut(
            _distractors(table, refs), [-1, 0, 1, 2, np.inf], labels=["0", "1", "2", "3+"]
        )
        .cat.add_categories(UNKNOWN)
        .fillna(UNKNOWN),
        area=pd.cut(
            share, [0, SMALL, LARGE, np.inf], right=False, labels=["small", "medium", "large"]
        )
        .cat.add_categories(UNKNOWN)
        .fillna(UNKNOWN),
    )


def _names_a_place(text: str) -> bool:
    return not LOCATION_WORDS.isdisjoint(re.findall("[a-z]+", text.lower()))


def _ordered(values: "pd.Series[str]", groups: list[str]) -> "pd.Series[str]":
    return values.fillna(UNKNOWN).astype(pd.CategoricalDtype([*groups, UNKNOWN], ordered=True))


def _distractors(table: pd.DataFrame, refs: pd.DataFrame) -> "pd.Series[int]":
    """Per row of `table`: other annotations of its category in its image; missing where the category is."""
    kind = ["image_id", "category_id"]
    others = refs.groupby(kind)["ann_id"].nunique().sub(1).rename("others").reset_index()
    return table[kind].merge(others, on=kind, how="left").set_axis(table.index)["others"]


def break_down(
    records: pd.DataFrame, facts: pd.DataFrame, by: tuple[str, ...] = NAMES
) -> pd.DataFrame:
    """Metrics of every group that occurs: columns by, group, expressions and those of `tris_core.evaluation.metrics.summarise`.

    `records` of one split, `facts` as `describe` gives them.
    """
    groups = facts.loc[records["expression_id"], list(by)].reset_index(drop=True)
    positions = {name: groups.groupby(name, observed=True, sort=True).indices for name in by}
    return pd.DataFrame(
        {"by": name, "group": group, "expressions": len(rows), **summarise(records.iloc[rows])}
        for name in by
        for group, rows in positions[name].items()
    )
