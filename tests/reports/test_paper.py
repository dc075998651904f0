"""The paper's numbers: what its text and its other tables say about them."""

import pytest

from tris_core.reports.paper import (
    OURS,
    REFERIT_TEST,
    TABLE1,
    TABLE2,
    TABLE3,
    TABLE4,
    TABLE5,
    beside,
    by_name,
)


def test_gains_that_the_text_states() -> None:
    """Section 4.2. Its gain of 16.56 over WWbL on ReferIt is not that of the table, 16.89."""

    def gain(system: str, metric: str, ours: str = "step1") -> float:
        rows = TABLE2[ours][REFERIT_TEST], TABLE2[system][REFERIT_TEST]
        return rows[0][metric] - rows[1][metric]

    gains = [gain(system, "PointIt") for system in ("MG", "GbS", "WWbL")]
    assert gains == pytest.approx([25.04, 24.44, 15.52])
    assert gain("WWbL", "Acc_box", "step1-imagenet") == pytest.approx(14.12)
    assert gain("WWbL", "PointIt", "step1-imagenet") == pytest.approx(13.06)
    data = "refcocog google val"
    assert TABLE1["step2"][data]["mIoU"] - TABLE1["WWbL"][data]["mIoU"] == pytest.approx(14.16)
    of_referit = TABLE1["step2"][REFERIT_TEST]["mIoU"] - TABLE1["WWbL"][REFERIT_TEST]["mIoU"]
    assert of_referit == pytest.approx(16.89)


def test_tables_agree_with_each_other() -> None:
    for data, row in TABLE4.items():
        assert row["without"] == TABLE1["step1"][data]["mIoU"]
    assert TABLE5["n-47"] == TABLE5["k-6"]
    assert TABLE3["full"].items() >= TABLE5["n-47"].items()


def test_every_cell_of_table_1_is_there() -> None:
    """Ten splits; only LAVT and CTS have gaps, and no PointM."""
    gaps = {"LAVT": (0, 9), "CTS": (8, 0)}
    for system, rows in TABLE1.items():
        metrics = [metric for row in rows.values() for metric in row]
        counts = metrics.count("mIoU"), metrics.count("oIoU")
        assert counts == gaps.get(system, (10, 0))
        assert metrics.count("PointM") == (0 if system in gaps else 10)
        assert all(5 < value < 80 for row in rows.values() for value in row.values())


def test_columns_are_in_order() -> None:
    """One cell of each column, read from the paper once more."""
    assert [row.get("mIoU") for row in TABLE1["AMR"].values()][:3] == [18.98, 14.12, 11.69]
    read = {
        ("CLIP-ES", "refcoco testB"): {"mIoU": 12.87, "PointM": 30.34},
        ("GroupViT", "refcoco+ val"): {"mIoU": 18.15, "PointM": 25.92},
        ("CLIP-ES", "refcoco+ testA"): {"mIoU": 16.01, "PointM": 56.20},
        ("WWbL", "refcoco+ testB"): {"mIoU": 21.64, "PointM": 36.10},
        ("CTS", "refcocog google val"): {"mIoU": 46.03},
        ("AMR", "refcocog umd val"): {"mIoU": 15.46, "PointM": 24.96},
        ("GbS", "refcocog umd test"): {"mIoU": 14.20, "PointM": 25.38},
        ("LAVT", "refcoco val"): {"oIoU": 72.73},
    }
    for (system, data), row in read.items():
        assert TABLE1[system][data] == row


def test_systems_have_names_of_their_own() -> None:
    assert list(by_name(1))[-2:] == [OURS["step1"], OURS["step2"]]
    assert set(by_name(2)) == {"MG", "GbS", "WWbL", *OURS.values()}


def test_a_step_stands_first_then_what_it_is_compared_with() -> None:
    found = beside("referit", "test (boxes over 5%)", 2)
    assert list(found) == ["TRIS Step-2", "CTS", "AMR", "GroupViT", "CLIP-ES", "GbS", "WWbL", "MG"]
    assert found["WWbL"] == {"mIoU": 27.68, "PointM": 42.84, "Acc_box": 24.02, "PointIt": 57.04}
    assert beside("refcocog umd", "train", 1) == {"TRIS Step-1": TABLE3["full"]}
    assert beside("refcocog umd", "train", 2) == beside("shapes", "val", 1) == {}
