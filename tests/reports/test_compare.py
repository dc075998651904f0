"""Means, deviations and intervals of several runs, against closed forms."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from tris_core.cli.main import app
from tris_core.evaluation.metrics import ious, summarise
from tris_core.reports.compare import (
    beside_paper,
    bootstrap_interval,
    compare,
    differences,
    per_expression,
)
from tris_core.runtime.errors import InputError


def records(iou: list[float], images: list[int] | None = None) -> pd.DataFrame:
    n = len(iou)
    return pd.DataFrame(
        {
            "expression_id": np.arange(n),
            "image_id": images or list(range(n)),
            "intersection": [int(100 * i) for i in iou],
            "union": 100,
            "hit_box": [i > 0.1 for i in iou],
            "hit_mask": [i > 0.2 for i in iou],
            "acc_box": False,
        }
    )


@given(st.lists(st.integers(0, 100), min_size=1, max_size=20))
def test_columns_average_to_the_metrics(percent: list[int]) -> None:
    made = records([p / 100 for p in percent])
    expected, columns = summarise(made), per_expression(made)
    for name in ("mIoU", "PointIt", "P@0.5", "PointM"):
        assert columns[name].mean() == pytest.approx(expected[name], abs=1e-12)


@settings(max_examples=20)
@given(st.integers(0, 1000), st.integers(30, 200))
def test_interval_of_one_sentence_an_image_is_the_textbook_one(seed: int, n: int) -> None:
    values = np.random.default_rng(seed).normal(0.1, 0.3, n)
    low, high = bootstrap_interval(pd.DataFrame({"image_id": np.arange(n), "x": values}))["x"]
    half = 1.96 * values.std() / np.sqrt(n)
    assert (low, high) == pytest.approx(
        (values.mean() - half, values.mean() + half), abs=0.35 * half
    )


def test_difference_of_every_metric_and_its_interval_in_closed_form() -> None:
    """With equal unions oIoU is mIoU in every resample. An unchanged metric has no interval."""
    rng = np.random.default_rng(3)
    base = rng.integers(20, 80, 60)
    images = list(np.repeat(np.arange(30), 2))
    one, other = (
        records(list(values / 100), images) for values in (base, base + rng.integers(-10, 20, 60))
    )
    table = differences(one, other)
    assert set(table.index) == set(summarise(one))
    for metric, value in summarise(other).items():
        assert table.loc[metric, "second"] == value
        assert table.loc[metric, "difference"] == pytest.approx(value - summarise(one)[metric])
    row = table.loc["mIoU"]
    assert row["low"] < row["difference"] < row["high"]
    assert table.loc["oIoU"].tolist() == pytest.approx(row.tolist())
    by_image = (ious(other) - ious(one)).groupby(images).mean()
    assert row["high"] - row["low"] == pytest.approx(
        2 * 1.96 * by_image.std() / np.sqrt(30), rel=0.2
    )
    assert table.loc["Acc_box", ["difference", "low", "high"]].tolist() == [0, 0, 0]


def test_a_resample_weighs_images_by_their_areas_in_oiou() -> None:
    """Two images, one with a lost object. A resample has it zero times, once or twice.

    oIoU then moves by 0, 1/11 or 1.
    """
    one, other = records([1.0, 1.0]), records([1.0, 0.0])
    one["union"] = other["union"] = one["intersection"] = [1000, 100]
    other["intersection"] = [1000, 0]
    row = differences(one, other).loc["oIoU"]
    assert row.tolist() == pytest.approx([1, 1000 / 1100, -100 / 1100, -1, 0])


def test_interval_is_wider_when_sentences_share_images() -> None:
    values = np.repeat(np.random.default_rng(0).normal(0, 1, 40), 10)
    apart = bootstrap_interval(pd.DataFrame({"image_id": np.arange(400), "x": values}))["x"]
    together = bootstrap_interval(
        pd.DataFrame({"image_id": np.repeat(np.arange(40), 10), "x": values})
    )["x"]
    assert together[1] - together[0] == pytest.approx(np.sqrt(10) * (apart[1] - apart[0]), rel=0.3)


def test_table_has_mean_deviation_and_difference() -> None:
    rng = np.random.default_rng(1)
    base = rng.uniform(0.3, 0.6, 300)
    groups = {
        "full": [records(list(base)), records(list(base + 0.02))],
        "better": [records(list(base + 0.1))],
        "same": [records(list(np.roll(base, 1)))],
    }
    table = compare(groups, against="full", paper={"full": {"mIoU": 27.81}}).set_index("run")
    first = 100 * (groups["full"][0]["intersection"] / 100).mean()
    second = 100 * (groups["full"][1]["intersection"] / 100).mean()
    deviation = abs(second - first) / np.sqrt(2)
    assert table.loc["full", "mIoU"] == f"{(first + second) / 2:.1f} ± {deviation:.1f}"
    assert table.loc["full", "mIoU - full"] == ""
    assert table.loc["full", "paper's mIoU"] == "27.81"
    assert "undecided" not in table.loc["better", "mIoU - full"]
    assert table.loc["better", "mIoU - full"].startswith("+9.")
    assert "undecided" in table.loc["same", "mIoU - full"]


def test_a_difference_smaller_than_that_between_seeds_is_undecided() -> None:
    base = np.random.default_rng(2).uniform(0.3, 0.6, 400)
    full = [records(list(base + shift)) for shift in (-0.05, 0.0, 0.05)]
    near, far = (
        [records(list(base + d + shift)) for shift in (-0.05, 0.0, 0.05)] for d in (0.03, 0.15)
    )
    table = compare({"full": full, "near": near, "far": far}, against="full").set_index("run")
    # Every image agrees, so the interval excludes 0.
    assert table.loc["near", "mIoU - full"].startswith("+3.0 [")
    assert table.loc["near", "mIoU - full"].endswith("undecided")
    assert not table.loc["far", "mIoU - full"].endswith("undecided")


def test_runs_are_shown_beside_the_paper() -> None:
    runs = {
        "mine": [
            {"train": {"mIoU": 0.9}, "val": {"mIoU": 0.25}},
            {"train": {"mIoU": 0.8}, "val": {"mIoU": 0.27}},
        ],
        "own": [{"test": {"mIoU": 0.5}}],
    }
    table = beside_paper(
        runs, {"mine": "refcoco", "own": "shapes"}, {"refcoco val": {"mIoU": 25.11}}
    )
    assert table.to_numpy().tolist() == [
        ["mine", "refcoco val", "2", "26.00 ± 1.41", "25.11"],
        ["own", "shapes test", "1", "50.00", ""],
    ]


def test_runs_on_other_expressions_are_refused() -> None:
    with pytest.raises(InputError, match="not measured on the same expressions"):
        compare({"a": [records([0.1, 0.2])], "b": [records([0.1])]}, against="a")


def test_a_table_the_paper_does_not_have() -> None:
    result = CliRunner().invoke(app, ["compare", "x", "--table", "6"])
    assert result.exit_code == 2
    assert "'--table'" in result.output
