"""The tables of `tris compare`, from runs in folders."""

from pathlib import Path

import pandas as pd
import pytest

from tests.support.tiny_runs import Runs, write_runs
from tris_core.reports.compare import compare
from tris_core.reports.table import Groups, comparison, paper_table, text


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Runs:
    return write_runs(monkeypatch, tmp_path, ["full-1", "full-2", "cls-1", "cls-2"])


@pytest.fixture
def groups(runs: Runs) -> Groups:
    members = {
        group: [(name, path) for name, path in sorted(runs.known.items()) if group in name]
        for group in ("full", "cls")
    }
    return Groups(members, list(runs.known))


@pytest.mark.parametrize("step", [1, 2])
def test_runs_are_compared_and_the_table_explained(runs: Runs, groups: Groups, step: int) -> None:
    rows = comparison(groups, step=step, split="val", table=3)
    kept = {group: [runs.records[f"{group}-{seed}"] for seed in (1, 2)] for group in groups.members}
    paper = {"full": {"mIoU": 27.81}, "cls": {"mIoU": 18.94}}
    expected = compare(kept, against="full", paper=paper)
    for column in expected:
        assert rows[column].tolist() == expected[column].tolist()
    assert "all 4 differences" in groups.notes[-1]
    assert "Welch" in text(rows, groups.notes, "github").splitlines()[0]
    own = "mIoU at the threshold best on val"
    assert (own in rows) == (step == 1)
    if step == 1:
        assert rows[own].tolist() == ["50.0 ± 0.0"] * 2


def test_the_best_threshold_is_vals_on_other_splits_too(runs: Runs, groups: Groups) -> None:
    own = "mIoU at the threshold best on val"
    assert set(comparison(groups, step=1, split="train", table=None)[own]) == {"20.0 ± 0.0"}
    curve = Path(runs.known["cls-2"]) / "metrics" / "curves" / "step1_thresholds.csv"
    pd.read_csv(curve, index_col=0).assign(val=None).to_csv(curve)
    rows = comparison(groups, step=1, split="train", table=None)
    assert rows[own].tolist() == ["20.0 ± 0.0", ""]


def test_the_paper_stands_below_runs_of_its_data(groups: Groups) -> None:
    rows = paper_table(groups, table=1, step=2).set_index("run")
    assert rows["data"].unique().tolist() == ["refcoco val"]
    assert rows.index.tolist()[:3] == ["full", "cls", "paper: LAVT"]
    assert rows.loc["paper: TRIS Step-2"].tolist() == ["refcoco val", "", "31.17", "54.72", ""]
    assert rows.loc["paper: LAVT", "oIoU"] == "72.73"
    assert rows.loc["full", "oIoU"] != ""
