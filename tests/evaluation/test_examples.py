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


def test_a_sheet_shows_refs_of_one_image_side_by_side() -> None:
    found = table({7: 1, 8: 4, 9: 1, 5: 2, 6: 3})
    shown = found.set_index("expression_id").loc[examples(found)]
    assert shown["image_id"].tolist() == [5, 5, 6, 6, 6]  # a third and two thirds through 8, 5, 6
    assert shown["ref_id"].is_unique
    assert examples(table({8: 4})) == [100, 102, 104]  # the first expression of each of three refs


def test_images_with_one_ref_are_shown_if_there_are_no_others() -> None:
    assert examples(table({1: 1, 2: 1, 3: 1})) == [102, 104]


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
