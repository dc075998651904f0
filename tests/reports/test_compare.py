"""Means, deviations and intervals of several runs, against closed forms."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats
from typer.testing import CliRunner

from tris_core.cli.main import app
from tris_core.evaluation.metrics import ious, summarise
from tris_core.reports.compare import (
    beside_paper,
    compare,
    differences,
    samples,
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


@given(st.lists(st.integers(0, 100), min_size=2, max_size=20), st.integers(1, 5))
def test_values_are_those_of_the_summary(percent: list[int], images: int) -> None:
    made = records([p / 100 for p in percent], [i % images for i in range(len(percent))])
    expected, found = summarise(made), samples([made])
    assert list(found) == list(expected)
    for name, sample in found.items():
        assert sample.values.tolist() == [pytest.approx(expected[name], abs=1e-12)]


def test_difference_of_every_metric_and_its_interval_in_closed_form() -> None:
    """With equal unions oIoU is mIoU. An unchanged metric has no interval."""
    rng = np.random.default_rng(3)
    base = rng.integers(20, 80, 60)
    images = list(np.repeat(np.arange(30), 2))
    one, other = (
        records(list(values / 100), images) for values in (base, base + rng.integers(-10, 20, 60))
    )
    found = differences(one, other)
    assert list(found) == list(summarise(one))
    for metric, value in summarise(other).items():
        assert found[metric].value == pytest.approx(value - summarise(one)[metric])
    by_image = (ious(other) - ious(one)).groupby(images).mean()
    half = stats.t.ppf(0.975, 29) * by_image.std() / np.sqrt(30)
    change = found["mIoU"]
    assert change.value - change.low == pytest.approx(half)
    assert change.high - change.value == pytest.approx(half)
    assert found["oIoU"] == pytest.approx(change)
    assert found["Acc_box"][:3] == (0, 0, 0)


def test_interval_is_wider_when_sentences_share_images() -> None:
    shift = np.repeat(np.random.default_rng(0).integers(-20, 20, 40), 10)
    one, other = [0.5] * 400, list(0.5 + shift / 100)

    def width(images: list[int]) -> float:
        change = differences(records(one, images), records(other, images))["mIoU"]
        return change.high - change.low

    apart, together = width(list(range(400))), width(list(np.repeat(np.arange(40), 10)))
    assert together == pytest.approx(np.sqrt(10) * apart, rel=0.05)


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
    assert table.loc["better", "mIoU - full"].startswith("+9.")
    assert table.loc["better", "mIoU - full"].endswith("] images only")
    assert table.loc["same", "mIoU - full"].endswith("] images only, undecided")


def seeds(base: NDArray[np.float64], shift: float) -> list[pd.DataFrame]:
    """Three seeds five points apart. Every image agrees, so images add no doubt."""
    return [records(list(base + shift + seed)) for seed in (-0.05, 0.0, 0.05)]


def test_a_difference_within_the_spread_of_seeds_is_undecided() -> None:
    base = np.random.default_rng(2).integers(30, 50, 400) / 100 + 1e-6
    groups = {"full": seeds(base, 0), "near": seeds(base, 0.08), "far": seeds(base, 0.25)}
    table = compare(groups, against="full").set_index("run")
    half = stats.t.ppf(0.975, 4) * 5 * np.sqrt(2 / 3)
    near, far = table["mIoU - full"][["near", "far"]]
    assert near == f"+8.0 [{8 - half:+.1f}, {8 + half:+.1f}] undecided"
    assert far == f"+25.0 [{25 - half:+.1f}, {25 + half:+.1f}]"


def test_the_verdict_is_of_the_whole_table() -> None:
    """Only mIoU moves, by 4.9 standard errors: p = 0.008, times 4 metrics or times 16."""
    base = np.random.default_rng(2).integers(60, 75, 400) / 100 + 1e-6
    groups = {"full": seeds(base, 0), "other": seeds(base, 0.2)}
    alone = compare(groups, against="full").set_index("run")
    more = compare({**groups, **dict.fromkeys("abc", groups["full"])}, against="full")
    among = more.set_index("run").loc["other", "mIoU - full"]
    assert among == f"{alone.loc['other', 'mIoU - full']} undecided"


def test_runs_are_shown_beside_the_paper() -> None:
    runs = {
        "mine": [
            {"train": {"mIoU": 0.9}, "val": {"mIoU": 0.25}},
            {"train": {"mIoU": 0.8}, "val": {"mIoU": 0.27}},
        ],
        "own": [{"test": {"mIoU": 0.5}}],
    }
    paper = {
        "TRIS": {"refcoco val": {"mIoU": 25.11}, "refcoco testA": {"mIoU": 26.47}},
        "LAVT": {"refcoco val": {"oIoU": 72.73}},
        "CTS": {"refcoco testB": {"mIoU": 55.48}},
    }
    for run in (*runs["mine"], *runs["own"]):
        for values in run.values():
            values["oIoU"] = 0.2
    table = beside_paper(runs, {"mine": "refcoco", "own": "shapes"}, paper)
    assert list(table) == ["data", "run", "seeds", "mIoU", "oIoU"]
    assert table.to_numpy().tolist() == [
        ["refcoco val", "mine", "2", "26.00 ± 1.41", "20.00 ± 0.00"],
        ["refcoco val", "paper: TRIS", "", "25.11", ""],
        ["refcoco val", "paper: LAVT", "", "", "72.73"],
        ["shapes test", "own", "1", "50.00", "20.00"],
    ]


def test_runs_on_other_expressions_are_refused() -> None:
    with pytest.raises(InputError, match="not measured on the same expressions"):
        compare({"a": [records([0.1, 0.2])], "b": [records([0.1])]}, against="a")


def test_a_table_the_paper_does_not_have() -> None:
    result = CliRunner().invoke(app, ["compare", "x", "--table", "6"])
    assert result.exit_code == 2
    assert "'--table'" in result.output
