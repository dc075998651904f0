"""Every preset for photographs runs through all stages on a few tiny scenes.

Other tests run the default, of which `shapes-long` differs by numbers of images and steps alone.
"""

import json
import re
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from tests.support.closure import ROOT
from tests.support.in_process import enter, run, write_params
from tests.support.random_resnet import write_resnet50
from tris_core.runtime.files import sha256_of_file

STAGES = list(YAML(typ="safe").load(ROOT / "dvc.yaml")["stages"])
PRESETS = sorted(
    path.stem for path in (ROOT / "presets").glob("*.yaml") if not path.stem.startswith("shapes")
)
# Small sizes, the packaged CLIP and a random ResNet-50; all other values are the preset's.
SMALL: dict[str, dict[str, Any]] = {
    "dataset": {
        "name": "shapes", "split_by": "demo", "root": "data/shapes", "annotations": "refer/shapes",
    },
    "make_shapes": {"train": 6, "val": 2, "test": 1},
    "pack_images": {"side": 64},
    "prepare_clip": {
        "backbone": "demo", "backbone_weights": None, "scorer": "demo", "scorer_weights": None,
        "imagenet_weights": "resnet50.pth",
    },
    "train_step1": {"epochs": 2, "batch": 4, "hidden": 16},
    "crf_seeds": {"iterations": 2},
    "train_irn": {"epochs": 1, "batch": 4, "crop": 96},
    "train_step2": {"epochs": 2, "batch": 4, "width": 8},
    "runtime": {"device": "cpu"},
}  # fmt: skip

LONGER = [("make_shapes", "train"), ("train_step1", "steps"), ("train_step2", "steps")]


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_runs_through_all_stages(
    preset: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    enter(monkeypatch, tmp_path)
    params = write_params(SMALL, preset=preset)
    write_resnet50(Path("resnet50.pth"))
    said = {name: run(import_module(f"stages.{name}")) for name in STAGES}
    irn = json.loads(Path("models/irn/config.json").read_text())
    assert irn["imagenet"]["sha256"] == sha256_of_file(Path("resnet50.pth"))
    for step in (1, 2):
        metrics = json.loads(Path(f"metrics/step{step}.json").read_text())
        assert metrics.keys() == {"train", "val", "test"}
        full = json.loads(Path(f"data/evaluation/step{step}/metrics.json").read_text())
        chosen = params[f"train_step{step}"]["selection"] == "val_mIoU"
        assert full["masks_chose_anything"] is chosen
        if not chosen:
            continue
        printed = re.findall(r"score ([\d.]+), best", said[f"train_step{step}"])
        scores = [float(score) for score in printed]
        assert len(scores) == 2  # epochs
        assert metrics["val"]["mIoU"] == pytest.approx(max(scores), abs=1e-4)


def test_shapes_long_is_the_default_with_more_images_and_steps() -> None:
    read = YAML(typ="safe").load
    short, long = (read(ROOT / "presets" / f"{name}.yaml") for name in ("shapes", "shapes-long"))
    for section, key in LONGER:
        assert long[section][key] > short[section][key]
        long[section][key] = short[section][key]
    assert long == short
