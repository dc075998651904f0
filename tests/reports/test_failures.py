"""Kinds of failures: hand-made masks, and a twin that counts pixels one by one."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tests.support.tiny_index import EXPRESSIONS, REFS, make_predictions, make_truth
from tris_core.data.rle import encode
from tris_core.data.truth import Truth
from tris_core.evaluation.metrics import summarise
from tris_core.evaluation.records import score_rows
from tris_core.reports.failures import MEANING, Kind, failure_kind, failure_kinds

SHAPE = (10, 40)


def columns(*ranges: tuple[int, int]) -> np.ndarray:
    """A mask of whole columns, [start, stop) each."""
    mask = np.zeros(SHAPE, bool)
    for start, stop in ranges:
        mask[:, start:stop] = True
    return mask


TARGET, TWIN, OTHER = (
    columns((0, 10)),
    columns((10, 20)),
    columns((20, 30)),
)  # and ten columns of background


@pytest.mark.parametrize(
    ("predicted", "kind"),
    [
        (TARGET, Kind.CORRECT),
        (columns((0, 5)), Kind.CORRECT),  # IoU of 0.5 counts, as in P@0.5
        (columns((0, 20)), Kind.CORRECT),
        (columns(), Kind.NOTHING),
        (columns((0, 4)), Kind.PART),
        (columns((0, 4), (30, 34)), Kind.PART),  # half of it in the target, six missed, four beside
        (columns((0, 4), (30, 35)), Kind.BACKGROUND),
        (columns((12, 20)), Kind.SAME),
        (columns((6, 17)), Kind.SAME),  # 4 of the target, 7 of its like
        (columns((22, 30)), Kind.OTHER),
        (columns((16, 30)), Kind.OTHER),  # 4 of one, 10 of the other
        (columns((0, 4), (14, 18)), Kind.PART),  # as much on the one as on the other
        (columns((4, 30)), Kind.OBJECTS),  # more than half of the target is marked: it was found
        (
            columns((0, 10), (20, 40)),
            Kind.BACKGROUND,
        ),  # ten columns beside objects, ten of an object
        (columns((0, 10), (19, 39)), Kind.OBJECTS),
        (columns((32, 36)), Kind.BACKGROUND),
    ],
)
def test_hand_made_masks(predicted: np.ndarray, kind: Kind) -> None:
    assert failure_kind(predicted, TARGET, np.stack([TWIN, OTHER]), [True, False]) == kind


def test_category_that_is_not_given_is_said() -> None:
    assert failure_kind(TWIN, TARGET, np.stack([TWIN, OTHER]), [None, False]) == Kind.UNKNOWN


def test_pixels_of_the_target_are_not_the_other_objects() -> None:
    """What two objects share counts for the target, so marking it alone is no wrong object."""
    assert failure_kind(columns((0, 4)), TARGET, columns((0, 30))[None], [True]) == Kind.PART


def test_without_other_objects_only_background_is_left() -> None:
    assert failure_kind(TWIN, TARGET, np.zeros((0, *SHAPE), bool), []) == Kind.BACKGROUND


masks = arrays(bool, (3, 4))


@given(masks, masks, st.lists(st.tuples(masks, st.sampled_from([True, False, None])), max_size=3))
def test_exactly_one_kind_by_a_twin_on_sets(
    predicted: np.ndarray, truth: np.ndarray, others: list[tuple[np.ndarray, bool | None]]
) -> None:
    p, t, *rest = (
        {(int(y), int(x)) for y, x in np.argwhere(m)}
        for m in (predicted, truth, *(o for o, _ in others))
    )
    objects = [o - t for o in rest]
    most = max((len(p & o) for o in objects), default=0)
    winner = next(
        (same for o, (_, same) in zip(objects, others, strict=True) if len(p & o) == most), None
    )
    correct = len(p & t) > 0 and len(p & t) / len(p | t) >= 0.5
    wrong = not correct and len(p & t) <= len(t) / 2 and most > len(p & t)
    part = not correct and len(p) > 0 and len(p & t) >= len(p) / 2 and len(t - p) >= len(p - t)
    leak = bool(p) and not (correct or wrong or part)
    on_objects = len(p & set().union(*objects)) > len(p - t) / 2
    holds = {
        Kind.CORRECT: correct,
        Kind.NOTHING: not p,
        Kind.PART: part,
        Kind.SAME: wrong and winner is True,
        Kind.OTHER: wrong and winner is False,
        Kind.UNKNOWN: wrong and winner is None,
        Kind.OBJECTS: leak and on_objects,
        Kind.BACKGROUND: leak and not on_objects,
    }
    masks = np.array([o for o, _ in others]).reshape(-1, 3, 4)
    found = failure_kind(predicted, truth, masks, [same for _, same in others])
    assert [kind for kind, is_so in holds.items() if is_so] == [found]


def test_every_kind_has_a_meaning() -> None:
    assert set(MEANING) == set(Kind)


@pytest.mark.parametrize("seed", range(5))
def test_a_table_has_one_kind_for_each_expression_with_truth(seed: int) -> None:
    table = make_truth(seed)
    truth = Truth(table[table["ref_id"] != 11])
    made = make_predictions(seed)
    kinds = failure_kinds(made, truth, REFS)
    measured = made[made["ref_id"] != 11]
    assert sorted(kinds.index) == sorted(measured["expression_id"])
    records = score_rows(measured, truth)
    assert (kinds == Kind.CORRECT).mean() == pytest.approx(summarise(records)["P@0.5"])


def test_others_are_the_other_annotations_of_the_image_with_their_categories() -> None:
    """Image 1 has two dogs (refs 10, 11) and ref 14 without category.

    Each of them is predicted for ref 10.
    """
    thirds = np.zeros((3, 12, 17), bool)
    for number, third in enumerate(thirds):
        third[4 * number : 4 * number + 4] = True
    counts = [encode(third) for third in thirds]
    # Ref 20 names the same annotation as ref 10.
    table = {"ref_id": [10, 11, 14, 20], "counts": [*counts, counts[0]]}
    truth = Truth(pd.DataFrame(table).assign(height=12, width=17))
    twice = pd.concat([REFS, REFS[REFS["ref_id"] == 10].assign(ref_id=20)])
    rows = EXPRESSIONS[EXPRESSIONS["ref_id"].isin([10])].head(1)
    for third, kind in zip(thirds, (Kind.CORRECT, Kind.SAME, Kind.UNKNOWN), strict=True):
        masks = rows.assign(height=12, width=17, counts=[encode(third)])
        assert failure_kinds(masks, truth, twice).tolist() == [kind]
