"""Which expressions a sheet or a report shows first: some of one image, and a failure."""

import numpy as np
import pandas as pd

IMAGES, REFS_PER_IMAGE = 2, 3
WORSE = 0.1  # share of the expressions that are worse than the failure
FAILURE = "A failure; one in ten is worse"


def examples(table: pd.DataFrame) -> list[int]:
    """Ids of the expressions of a split to draw, image by image: the first of each ref.

    The images lie evenly among those with several refs, or among all if none has.
    """
    firsts = table.drop_duplicates("ref_id")
    several = firsts[firsts["image_id"].duplicated(keep=False)]
    images = (several if len(several) else firsts)["image_id"].unique()
    positions = np.unique(len(images) * np.arange(1, IMAGES + 1) // (IMAGES + 1))
    shown = firsts[firsts["image_id"].isin(images[positions])].sort_values(
        "image_id", kind="stable"
    )
    return list(shown.groupby("image_id").head(REFS_PER_IMAGE)["expression_id"])


def failure(table: pd.DataFrame, ious: "pd.Series[float]") -> list[int]:
    """Id of the expression of a split that has the share `WORSE` below it; none without truth."""
    ranked = ious[ious.index.isin(table["expression_id"])].sort_values(kind="stable")
    return list(ranked.index[[int(WORSE * len(ranked))]]) if len(ranked) else []
