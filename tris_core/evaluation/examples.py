"""What a sheet or a report shows first: expressions of two images, and a failure."""

import pandas as pd

RANKS = 0.75, 0.5  # of the images, from the worst at 0 to the best at 1
REFS_PER_IMAGE = 3
WORSE = 0.1  # share of the expressions that are worse than the failure
FAILURE = "A failure; one in ten is worse"


def examples(table: pd.DataFrame, ious: "pd.Series[float]") -> list[int]:
    """Ids of the expressions of a split to draw, image by image: the first of each ref.

    The images are a good one and a typical one, by the mean of `ious` (by expression_id), among
    those with several refs, or among all if none has. Images without truth keep their order.
    """
    firsts = table.drop_duplicates("ref_id")
    several = firsts[firsts["image_id"].duplicated(keep=False)]
    chosen = several if len(several) else firsts
    found = ious.reindex(chosen["expression_id"]).groupby(chosen["image_id"].to_numpy(), sort=False)
    images = found.mean().sort_values(kind="stable").index
    positions = dict.fromkeys(int(rank * len(images)) for rank in RANKS)
    of_image = firsts.groupby("image_id")["expression_id"]
    return [
        int(expression_id)
        for position in positions
        for expression_id in of_image.get_group(images[position])[:REFS_PER_IMAGE]
    ]


def failure(table: pd.DataFrame, ious: "pd.Series[float]") -> list[int]:
    """Id of the expression of a split that has the share `WORSE` below it; none without truth."""
    ranked = ious[ious.index.isin(table["expression_id"])].sort_values(kind="stable")
    return list(ranked.index[[int(WORSE * len(ranked))]]) if len(ranked) else []
