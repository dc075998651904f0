"""The evaluation stages with masks for only some refs, with no masks, and with large boxes."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from stages._artifacts import EVALUATION, METRICS, PREDICTIONS, REFS, RESPONSES, SHEETS, TRUTH
from tests.support.in_process import run, set_param
from tests.support.unevaluated import EVALUATIONS, make_unevaluated
from tris_core.cli.main import app
from tris_core.evaluation.metrics import summarise
from tris_core.runtime.parquet import write_table


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working directory in which every stage before evaluation has run."""
    folder = tmp_path_factory.mktemp("work")
    with pytest.MonkeyPatch.context() as patch:
        make_unevaluated(patch, folder)
    return folder


@pytest.fixture
def place(evaluated: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of that directory, in which a test may change the ground truth."""
    monkeypatch.setattr("stages._stage.end_with_parent", lambda: None)
    monkeypatch.chdir(shutil.copytree(evaluated, tmp_path / "copy"))
    monkeypatch.setenv("TRIS_SCRATCH", str(tmp_path / "copy" / "scratch"))  # the packed images
    return Path()


Metrics = dict[str, dict[str, dict[str, float]]]  # by file, split and metric


def evaluate() -> tuple[str, Metrics]:
    """Run all evaluation stages; return what they print and their metrics."""
    said = "".join(run(stage) for stage in EVALUATIONS)
    return said, {path.stem: json.loads(path.read_text()) for path in METRICS.glob("*.json")}


def splits(metrics: Metrics) -> dict[str, list[str]]:
    return {name: list(values) for name, values in metrics.items()}


def records_of(step: str) -> pd.DataFrame:
    return pd.read_parquet(EVALUATION / step / "records.parquet")


def split_of_truth() -> "pd.Series[str]":
    """The split of every row of the ground truth."""
    refs = pd.read_parquet(REFS).set_index("ref_id")
    return pd.read_parquet(TRUTH)["ref_id"].map(refs["split"])


def drop_truth() -> "pd.Series[bool]":
    """Delete the ground truth of the test split, half of val and one training image.

    Returns which rows are gone.
    """
    truth, refs = pd.read_parquet(TRUTH), pd.read_parquet(REFS).set_index("ref_id")
    split, image = split_of_truth(), truth["ref_id"].map(refs["image_id"])
    gone = (split == "test") | (split == "val") & (truth.index % 2 == 0)
    gone |= (split == "train") & (image == image[split == "train"].iloc[0])
    assert gone.groupby(split).mean().between(0, 1, inclusive="neither")[["train", "val"]].all()
    write_table(TRUTH, truth[~gone])
    return gone


@pytest.mark.usefixtures("place")
def test_points_of_predictions_are_those_that_are_evaluated() -> None:
    evaluate()
    predictions = pd.read_parquet(PREDICTIONS)
    records = records_of("step2").set_index("expression_id").loc[predictions["expression_id"]]
    points = records[["point_x", "point_y"]].to_numpy()
    assert predictions[["x", "y"]].to_numpy().tolist() == points.tolist()


@pytest.mark.usefixtures("place")
def test_a_split_without_masks_has_no_metrics() -> None:
    _, whole = evaluate()
    three, two = ["train", "val", "test"], ["train", "val"]
    labels = {"pseudo_labels": ["train"]}
    assert splits(whole) == {"step1": three, "step2": three, "prms": three} | labels
    drop_truth()
    _, part = evaluate()
    assert splits(part) == {"step1": two, "step2": two, "prms": two} | labels


@pytest.mark.usefixtures("place")
def test_controls_without_any_mask_say_so() -> None:
    write_table(TRUTH, pd.read_parquet(TRUTH)[:0])
    result = CliRunner().invoke(app, ["controls"])
    assert result.exit_code == 1
    assert "data/truth.parquet: no true mask of these expressions; nothing" in result.output


@pytest.mark.usefixtures("place")
def test_missing_masks_do_not_change_the_evaluation_of_others() -> None:
    evaluate()
    records = {step: records_of(step) for step in ("step1", "step2")}
    predictions = PREDICTIONS.read_bytes()
    drop_truth()
    _, part = evaluate()
    known = set(pd.read_parquet(TRUTH)["ref_id"])
    ref_of = pd.read_parquet(RESPONSES).set_index("expression_id")["ref_id"]
    for step, before in records.items():
        kept = before[before["expression_id"].map(ref_of).isin(known)].reset_index(drop=True)
        pd.testing.assert_frame_equal(records_of(step), kept, check_index_type=False)
        expected = summarise(kept[kept["split"] == "val"])["mIoU"]
        assert part[step]["val"]["mIoU"] == pytest.approx(expected, abs=1e-4)
    assert PREDICTIONS.read_bytes() == predictions


@pytest.mark.usefixtures("place")
def test_stages_say_how_many_expressions_have_no_mask() -> None:
    split = split_of_truth()
    gone = drop_truth()
    said, _ = evaluate()
    known = set(pd.read_parquet(TRUTH)["ref_id"])
    ref_of = pd.read_parquet(RESPONSES).set_index("expression_id")["ref_id"]
    unmeasured = (~ref_of.isin(known)).sum()
    assert said.count(f"{unmeasured} expressions without truth not measured") == 3
    assert f"{(gone & (split == 'train')).sum()} refs without truth not measured" in said


def test_without_any_mask_everything_is_predicted_and_nothing_measured(place: Path) -> None:
    write_table(TRUTH, pd.read_parquet(TRUTH).head(0))
    said, metrics = evaluate()
    assert metrics == {"step1": {}, "step2": {}, "prms": {}, "pseudo_labels": {}}
    assert said.count("no truth: nothing was measured") == 4
    assert len(pd.read_parquet(PREDICTIONS)) == len(pd.read_parquet(RESPONSES))
    assert len(records_of("step2")) == 0
    assert sorted(path.name for path in SHEETS.iterdir()) == ["test.png", "train.png", "val.png"]
    thresholds = pd.read_csv(METRICS / "curves" / "step1_thresholds.csv")
    assert thresholds.columns.tolist() == ["threshold", "train", "val"]


def test_large_boxes_are_reported_beside_the_whole_split(place: Path) -> None:
    truth = pd.read_parquet(TRUTH).set_index("ref_id")
    share = {i: (t.x1 - t.x0) * (t.y1 - t.y0) / (t.height * t.width) for i, t in truth.iterrows()}
    fraction = round(float(np.median(list(share.values()))), 3)
    for step in ("evaluate_step1", "evaluate_step2"):
        set_param(f"{step}.min_box_fraction", fraction)
    _, metrics = evaluate()
    assert list(metrics["prms"]) == ["train", "val", "test"]
    of = pd.read_parquet(RESPONSES).set_index("expression_id")["ref_id"]
    for step in ("step1", "step2"):
        records = records_of(step)
        full = json.loads((EVALUATION / step / "metrics.json").read_text())
        for split in ("train", "val", "test"):
            name = f"{split} (boxes over {100 * fraction:.1f}%)"
            whole = records[records["split"] == split]
            part = whole[[share[of[i]] > fraction for i in whole["expression_id"]]]
            assert full["metrics"][split] == summarise(whole)
            assert full["metrics"][name] == summarise(part)
            count = {key: full["counts"][key]["expressions"] for key in (name, split)}
            assert count[name] == len(part) < count[split]
            assert metrics[step][name]["PointM"] == round(full["metrics"][name]["PointM"], 4)
