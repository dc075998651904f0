"""Which group an expression belongs to, and that groups are scored as the whole is."""

import numpy as np
import pandas as pd
import pytest

from tests.support.tiny_index import EXPRESSIONS, REFS, make_predictions, make_truth
from tris_core.cli.score import By
from tris_core.evaluation.breakdowns import NAMES, UNKNOWN, break_down, describe
from tris_core.evaluation.metrics import summarise
from tris_core.evaluation.records import report, score_rows

TRUTH = make_truth().set_index("ref_id")
CUT = EXPRESSIONS.set_index("expression_id").index.to_series() == 3


def test_the_command_offers_every_breakdown() -> None:
    assert tuple(By) == NAMES


def test_groups_by_hand() -> None:
    facts = describe(EXPRESSIONS, REFS, TRUTH, CUT).sort_index()
    assert facts["length"].tolist() == ["1-2", "3-5", "6-10", ">10", "1-2", "1-2", "3-5"]
    assert facts["location"].tolist() == [
        "no",
        "yes",
        "no",
        "no",
        "no",
        "no",
        "no",
    ]  # neither leftovers nor upfront
    assert facts["category"].tolist() == ["dog", "dog", "dog", "dog", "6", "dog", "6"]
    assert facts["cut"].tolist() == ["no", "no", "no", "yes", "no", "no", "no"]
    # Image 1 has two dogs and a cat; image 3 a dog, of another split.
    assert facts["distractors"].tolist() == ["1", "1", "1", "1", "0", "0", "0"]
    assert facts["split"].tolist() == ["val"] * 5 + ["train", "val"]


@pytest.mark.parametrize(
    ("words", "group"),
    [(1, "1-2"), (2, "1-2"), (3, "3-5"), (5, "3-5"), (6, "6-10"), (10, "6-10"), (11, ">10")],
)
def test_edges_of_length(words: int, group: str) -> None:
    expressions = EXPRESSIONS.assign(text=" ".join(["w"] * words))
    assert set(describe(expressions, REFS, TRUTH, CUT)["length"]) == {group}


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
def test_edges_of_area_are_cocos_in_cocos_usual_image(area: int, group: str) -> None:
    truth = TRUTH.assign(area=area, height=480, width=640)
    assert set(describe(EXPRESSIONS, REFS, truth, CUT)["area"]) == {group}


def test_distractors_are_objects_not_refs() -> None:
    """Several refs may name one object; the fourth object of a kind and the fifth count alike."""
    same = REFS.assign(ann_id=100, image_id=1, category_id=5)
    assert set(describe(EXPRESSIONS, same, TRUTH, CUT)["distractors"]) == {"0"}
    five = REFS.assign(image_id=1, category_id=5)
    assert set(describe(EXPRESSIONS, five, TRUTH, CUT)["distractors"]) == {"3+"}
    assert set(
        describe(EXPRESSIONS, five.assign(ann_id=[1, 1, 2, 3, 3]), TRUTH, CUT)["distractors"]
    ) == {"2"}


def test_what_is_not_known_is_a_group() -> None:
    facts = describe(
        EXPRESSIONS,
        REFS.assign(category_id=[5, None, None, 5, 6], category=None),
        TRUTH.drop(index=[14]),
        CUT,
    )
    assert facts["category"].tolist() == ["5", "5", UNKNOWN, UNKNOWN, UNKNOWN, "5", "6"]
    assert facts["distractors"].tolist() == ["0", "0", UNKNOWN, UNKNOWN, UNKNOWN, "0", "0"]
    assert facts["area"].tolist()[-1] == UNKNOWN
    assert set(describe(EXPRESSIONS, REFS, TRUTH, None)["cut"]) == {UNKNOWN}


@pytest.mark.parametrize("seed", range(3))
def test_every_group_is_the_summary_of_its_records_in_order(seed: int) -> None:
    facts = describe(EXPRESSIONS, REFS, TRUTH, CUT)
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
    table = break_down(records, describe(EXPRESSIONS, REFS, TRUTH, CUT), ("length",))
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
            "expression_id": [12, 10, 11], "intersection": [3, 1, 9], "union": [10, 10, 10], "point_x": 0, "point_y": 0,
            "hit_mask": [True, False, True], "hit_box": True, "acc_box": False,
        }
    )  # fmt: skip
    content = report(records, facts, {"rule": "r"}, min_box_fraction=0.05)
    assert list(content["metrics"]) == ["val", "val (boxes over 5%)", "test"]
    assert content["metrics"]["val"]["mIoU"] == pytest.approx(0.5)
    assert content["metrics"]["val (boxes over 5%)"]["mIoU"] == pytest.approx(0.9)
    assert content["counts"]["val (boxes over 5%)"] == {"images": 1, "refs": 1, "expressions": 1}
    assert list(report(records, facts, {})["metrics"]) == ["val", "test"]
    assert report(records.iloc[:0], facts, {})["metrics"] == {}
