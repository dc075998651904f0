"""What the evaluation stages measure when the truth of some, or all, refs is unknown, and how large boxes are told apart."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from ruamel.yaml import YAML

from stages._artifacts import EVALUATION, METRICS, PREDICTIONS, REFS, RESPONSES, SHEETS, TRUTH
from tests.support.in_process import run
from tests.support.unevaluated import EVALUATIONS, make_unevaluated
from tris_core.evaluation.metrics import summarise
from tris_core.runtime.parquet import write_table


def set_parameter(section: str, key: str, value: object) -> None:
    content = YAML().load(Path("params.yaml"))
    content[section][key] = value
    YAML().dump(content, Path("params.yaml"))


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder in which everything up to evaluation is done."""
    folder = tmp_path_factory.mktemp("work")
    with pytest.MonkeyPatch.context() as patch:
        make_unevaluated(patch, folder)
    return folder


@pytest.fixture
def place(evaluated: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of that folder, to change the truth in."""
    monkeypatch.setattr("stages._stage.end_with_parent", lambda: None)
    monkeypatch.chdir(shutil.copytree(evaluated, tmp_path / "copy"))
    monkeypatch.setenv(
        "TRIS_SCRATCH", str(tmp_path / "copy" / "scratch")
    )  # holds the packed images
    return Path()


def evaluate() -> tuple[str, dict[str, dict[str, dict[str, float]]]]:
    said = "".join(run(m) for m in EVALUATIONS)
    return said, {
        path.stem: json.loads(path.read_text()) for path in sorted(METRICS.glob("*.json"))
    }


def test_what_has_truth_is_measured_as_if_the_rest_were_not_there(place: Path) -> None:
    _, whole = evaluate()
    assert {name: list(values) for name, values in whole.items()} == {
        "step1": ["train", "val", "test"],
        "step2": ["train", "val", "test"],
        "prms": ["train", "val", "test"],
        "pseudo_labels": ["train"],
    }
    records = {
        step: pd.read_parquet(EVALUATION / step / "records.parquet") for step in ("step1", "step2")
    }
    predictions, made = PREDICTIONS.read_bytes(), pd.read_parquet(PREDICTIONS)
    points = (
        records["step2"]
        .set_index("expression_id")
        .loc[made["expression_id"], ["point_x", "point_y"]]
    )
    assert made[["x", "y"]].to_numpy().tolist() == points.to_numpy().tolist()

    truth, refs = pd.read_parquet(TRUTH), pd.read_parquet(REFS).set_index("ref_id")
    split = truth["ref_id"].map(refs["split"])
    image = truth["ref_id"].map(refs["image_id"])
    gone = (split == "test") | (split == "val") & (truth.index % 2 == 0)
    gone |= (split == "train") & (
        image == image[split == "train"].iloc[0]
    )  # a whole image of the training refs
    assert gone.groupby(split).mean().between(0, 1, inclusive="neither")[["train", "val"]].all()
    write_table(TRUTH, truth[~gone])
    said, part = evaluate()
    assert {name: list(values) for name, values in part.items()} == {
        "step1": ["train", "val"], "step2": ["train", "val"], "prms": ["train", "val"], "pseudo_labels": ["train"],
    }  # fmt: skip
    known = set(truth.loc[~gone, "ref_id"])
    expressions = pd.read_parquet(RESPONSES).set_index("expression_id")["ref_id"]
    for step, all_records in records.items():
        kept = all_records[all_records["expression_id"].map(expressions).isin(known)]
        pd.testing.assert_frame_equal(
            pd.read_parquet(EVALUATION / step / "records.parquet"),
            kept.reset_index(drop=True),
            check_index_type=False,
        )
        expected = summarise(kept[kept["split"] == "val"])["mIoU"]
        assert part[step]["val"]["mIoU"] == pytest.approx(expected, abs=1e-4)
    assert PREDICTIONS.read_bytes() == predictions
    unmeasured = (~expressions.isin(known)).sum()
    assert said.count(f"{unmeasured} expressions without truth not measured") == 3
    assert f"{(gone & (split == 'train')).sum()} refs without truth not measured" in said


def test_without_any_truth_everything_is_predicted_and_nothing_measured(place: Path) -> None:
    write_table(TRUTH, pd.read_parquet(TRUTH).head(0))
    said, metrics = evaluate()
    assert metrics == {"step1": {}, "step2": {}, "prms": {}, "pseudo_labels": {}}
    assert said.count("no truth: nothing was measured") == 4
    assert len(pd.read_parquet(PREDICTIONS)) == len(pd.read_parquet(RESPONSES))
    assert len(pd.read_parquet(EVALUATION / "step2" / "records.parquet")) == 0
    assert sorted(path.name for path in SHEETS.iterdir()) == ["test.png", "train.png", "val.png"]
    assert pd.read_csv(METRICS / "curves" / "step1_thresholds.csv").columns.tolist() == [
        "threshold",
        "train",
        "val",
    ]


def test_large_boxes_are_reported_beside_the_whole_split(place: Path) -> None:
    truth = pd.read_parquet(TRUTH).set_index("ref_id")
    share = {i: (t.x1 - t.x0) * (t.y1 - t.y0) / (t.height * t.width) for i, t in truth.iterrows()}
    fraction = round(float(np.median(list(share.values()))), 3)
    for step in ("evaluate_step1", "evaluate_step2"):
        set_parameter(step, "min_box_fraction", fraction)
    _, metrics = evaluate()
    assert list(metrics["prms"]) == ["train", "val", "test"]
    of = pd.read_parquet(RESPONSES).set_index("expression_id")["ref_id"]
    for step in ("step1", "step2"):
        records = pd.read_parquet(EVALUATION / step / "records.parquet")
        full = json.loads((EVALUATION / step / "metrics.json").read_text())
        for split in ("train", "val", "test"):
            name = f"{split} (boxes over {100 * fraction:.1f}%)"
            whole = records[records["split"] == split]
            part = whole[[share[of[i]] > fraction for i in whole["expression_id"]]]
            assert full["metrics"][split] == summarise(whole)
            assert full["metrics"][name] == summarise(part)
            assert (
                full["counts"][name]["expressions"]
                == len(part)
                < full["counts"][split]["expressions"]
            )
            assert metrics[step][name]["PointM"] == round(full["metrics"][name]["PointM"], 4)
