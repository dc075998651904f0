"""What the sheets show: images with several refs, and one honest failure."""

import numpy as np
import pandas as pd

from stages.draw_sheets import failed
from tris_core.drawing.sheets import SheetRow
from tris_core.evaluation.examples import examples, failure


def table(refs_of_image: dict[int, int]) -> pd.DataFrame:
    """Two expressions for every ref of every image, ids in order."""
    refs = [image for image, count in refs_of_image.items() for _ in range(count)]
    rows = [(image, ref_id) for ref_id, image in enumerate(refs) for _ in range(2)]
    made = pd.DataFrame(rows, columns=["image_id", "ref_id"])
    return made.assign(expression_id=np.arange(len(made)) + 100)


UNKNOWN = pd.Series([], index=pd.Index([], dtype=int), dtype=float)


def test_a_sheet_shows_refs_of_a_good_and_of_a_typical_image() -> None:
    found = table({7: 1, 8: 4, 9: 1, 5: 2, 6: 3, 3: 2})
    quality = {8: 0.9, 5: 0.3, 6: 0.5, 3: 0.7, 7: 1.0, 9: 0.0}
    ious = pd.Series(found["image_id"].map(quality).to_numpy(), index=found["expression_id"])
    shown = found.set_index("expression_id").loc[examples(found, ious)]
    assert shown["image_id"].tolist() == [8, 8, 8, 3, 3], "7 and 9 have one ref"
    assert shown["ref_id"].is_unique
    assert examples(table({8: 4}), ious) == [100, 102, 104], "the first expressions of three refs"


def test_without_truth_images_keep_their_order() -> None:
    assert examples(table({1: 1, 2: 1, 3: 1}), UNKNOWN) == [104, 102]


def test_the_failure_has_a_tenth_below_it() -> None:
    found = table({1: 10})
    ious = pd.Series(np.linspace(0.05, 1, 20), index=found["expression_id"]).sample(
        frac=1, random_state=0
    )
    others = pd.Series([0.0], index=[999])  # of another split
    assert failure(found, pd.concat([others, ious])) == [102]
    assert failure(found, others) == []


def test_a_failure_says_so() -> None:
    row = SheetRow("red star (IoU 3 %)", np.zeros((4, 4, 3), np.uint8))
    assert failed(row).caption == "A failure; one in ten is worse: red star (IoU 3 %)"
