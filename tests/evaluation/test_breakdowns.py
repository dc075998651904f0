"""Which group an expression belongs to, and that groups are scored as the whole is."""

import numpy as np
import pandas as pd
import pytest

from tests.support.tiny_index import EXPRESSIONS, INDEX, REFS, TRUTH, make_predictions, make_truth
from tris_core.cli.score import By
from tris_core.data.index import Index
from tris_core.data.truth import Truth
from tris_core.evaluation.breakdowns import NAMES, UNKNOWN, break_down, describe
from tris_core.evaluation.metrics import summarise
from tris_core.evaluation.records import full_metrics, score_rows

CUT = EXPRESSIONS.set_index("expression_id").index.to_series() == 3


def of_refs(refs: pd.DataFrame) -> Index:
    """The tiny index with other refs."""
    return Index.of(refs=refs, expressions=EXPRESSIONS)


def test_the_command_offers_every_breakdown() -> None:
    assert tuple(By) == NAMES


def test_groups_by_hand() -> None:
    facts = describe(INDEX, TRUTH, CUT).sort_index()
    assert facts["length"].tolist() == ["1-2", "3-5", "6-10", ">10", "1-2", "1-2", "3-5"]
    # "leftovers" and "upfront" contain location words, but are none.
    assert facts["location"].tolist() == ["no", "yes", "no", "no", "no", "no", "no"]
    assert facts["category"].tolist() == ["dog", "dog", "dog", "dog", "6", "dog", "6"]
    assert facts["cut"].tolist() == ["no", "no", "no", "yes", "no", "no", "no"]
    # Image 1 has two dogs and a cat. Image 3 has a dog of another split.
    assert facts["distractors"].tolist() == ["1", "1", "1", "1", "0", "0", "0"]
    assert facts["split"].tolist() == ["val"] * 5 + ["train", "val"]


@pytest.mark.parametrize(
    ("words", "group"),
    [(1, "1-2"), (2, "1-2"), (3, "3-5"), (5, "3-5"), (6, "6-10"), (10, "6-10"), (11, ">10")],
)
def test_edges_of_length(words: int, group: str) -> None:
    expressions = EXPRESSIONS.assign(text=" ".join(["w"] * words))
    index = Index.of(refs=REFS, expressions=expressions)
    assert set(describe(index, TRUTH, CUT)["length"]) == {group}


@pytest.mark.parametrize(
    ("area", "group"),
    [
        (1, "small"),
        (1023, "small"),
        (1024, "medium"),
        (9215, "medium"),
        (9216, "large"),
        (640 * 480, "large"),
    ],
)
def test_edges_of_area_are_those_of_coco(area: int, group: str) -> None:
    truth = Truth(make_truth().assign(area=area, height=480, width=640))
    assert set(describe(INDEX, truth, CUT)["area"]) == {group}


def test_distractors_are_objects_not_refs() -> None:
    """Several refs may name one object."""
    five = REFS.assign(image_id=1, category_id=5)
    three = five.assign(ann_id=[1, 1, 2, 3, 3])
    for refs, group in ((five.assign(ann_id=100), "0"), (three, "2"), (five, "3+")):
        assert set(describe(of_refs(refs), TRUTH, CUT)["distractors"]) == {group}


def test_unknown_is_a_group() -> None:
    refs = REFS.assign(category_id=[5, None, None, 5, 6], category=None)
    truth = make_truth()
    facts = describe(of_refs(refs), Truth(truth[truth["ref_id"] != 14]), CUT)
    assert facts["category"].tolist() == ["5", "5", UNKNOWN, UNKNOWN, UNKNOWN, "5", "6"]
    assert facts["distractors"].tolist() == ["0", "0", UNKNOWN, UNKNOWN, UNKNOWN, "0", "0"]
    assert facts["area"].tolist()[-1] == UNKNOWN
    assert set(describe(INDEX, TRUTH, None)["cut"]) == {UNKNOWN}


@pytest.mark.parametrize("seed", range(3))
def test_every_group_has_the_summary_of_its_records(seed: int) -> None:
    facts = describe(INDEX, TRUTH, CUT)
    made = make_predictions(seed)
    records = score_rows(made, TRUTH).sample(frac=1, random_state=seed)
    table = break_down(records, facts)
    assert table["by"].drop_duplicates().tolist() == list(NAMES)
    whole = summarise(records)
    for name, part in table.groupby("by"):
        assert part["expressions"].sum() == len(records)
        assert np.average(part["mIoU"], weights=part["expressions"]) == pytest.approx(whole["mIoU"])
        for row in part.itertuples():
            ids = facts.index[facts[name] == row.group]
            one = summarise(records[records["expression_id"].isin(ids)])
            assert (row.mIoU, row.oIoU, row.Acc_box) == (one["mIoU"], one["oIoU"], one["Acc_box"])
    assert table.loc[table["by"] == "length", "group"].tolist() == ["1-2", "3-5", "6-10", ">10"]


def test_masks_without_points_break_down_without_point_metrics() -> None:
    records = score_rows(make_predictions(0).drop(columns=["x", "y"]), TRUTH)
    table = break_down(records, describe(INDEX, TRUTH, CUT), ("length",))
    assert isinstance(table, pd.DataFrame)
    assert not {"PointM", "PointIt"} & set(table)
    assert {"mIoU", "Acc_box"} <= set(table)


def test_large_boxes_are_reported_beside_their_split() -> None:
    facts = pd.DataFrame(
        {
            "split": ["val", "val", "test"],
            "ref_id": [1, 2, 3],
            "image_id": [1, 1, 2],
            "box_share": [0.05, 0.06, 0.01],
        },
        index=pd.Index([10, 11, 12], name="expression_id"),
    )
    records = pd.DataFrame(
        {
            "expression_id": [12, 10, 11],
            "intersection": [3, 1, 9],
            "union": [10, 10, 10],
            "point_x": 0,
            "point_y": 0,
            "hit_mask": [True, False, True],
            "hit_box": True,
            "acc_box": False,
        }
    )
    content = full_metrics(records, facts, {"rule": "r"}, min_box_fraction=0.05)
    assert list(content["metrics"]) == ["val", "val (boxes over 5%)", "test"]
    assert content["metrics"]["val"]["mIoU"] == pytest.approx(0.5)
    assert content["metrics"]["val (boxes over 5%)"]["mIoU"] == pytest.approx(0.9)
    assert content["counts"]["val (boxes over 5%)"] == {"images": 1, "refs": 1, "expressions": 1}
    assert list(full_metrics(records, facts, {})["metrics"]) == ["val", "test"]
    assert full_metrics(records.iloc[:0], facts, {})["metrics"] == {}
