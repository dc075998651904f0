"""Every preset but the default, which all other tests run, goes through every stage on a few tiny scenes."""

import json
import re
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from tests.support.closure import ROOT
from tests.support.in_process import enter, run, write_params

STAGES = list(YAML(typ="safe").load(ROOT / "dvc.yaml")["stages"])
PRESETS = sorted(path.stem for path in (ROOT / "presets").glob("*.yaml") if path.stem != "shapes")
# Only what makes it small, and CLIPs that are at hand; everything else is the preset's.
SMALL: dict[str, dict[str, Any]] = {
    "dataset": {
        "name": "shapes",
        "split_by": "demo",
        "root": "data/shapes",
        "annotations": "refer/shapes",
    },
    "make_shapes": {"train": 6, "val": 2, "test": 1},
    "pack_images": {"size": 64},
    "prepare_clip": {
        "backbone": "demo",
        "backbone_weights": None,
        "scorer": "demo",
        "scorer_weights": None,
    },
    "train_step1": {"epochs": 2, "batch": 4, "hidden": 16},
    "crf_seeds": {"iterations": 2},
    "train_irn": {"epochs": 1, "batch": 4, "crop": 96},
    "train_step2": {"epochs": 2, "batch": 4, "width": 8},
    "runtime": {"device": "cpu"},
}


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_goes_through_every_stage(
    preset: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    enter(monkeypatch, tmp_path)
    params = write_params(SMALL, preset=preset)
    said = {name: run(import_module(f"stages.{name}")) for name in STAGES}
    for step in (1, 2):
        metrics = json.loads(Path(f"metrics/step{step}.json").read_text())
        assert metrics.keys() == {"train", "val", "test"}
        full = json.loads(Path(f"data/evaluation/step{step}/metrics.json").read_text())
        chosen = params[f"train_step{step}"]["selection"] == "val_mIoU"
        assert full["masks_chose_anything"] is chosen
        if not chosen:
            continue
        scores = [
            float(score) for score in re.findall(r"score ([\d.]+), best", said[f"train_step{step}"])
        ]
        assert len(scores) == 2  # epochs
        assert metrics["val"]["mIoU"] == pytest.approx(max(scores), abs=1e-4)
