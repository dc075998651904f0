"""Which network starts from which weights, through the stages, without any training step."""

import shutil
from importlib import import_module
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

import stages.prepare_clip
import stages.refine
import stages.train_irn
from stages._artifacts import CLIP, IRN, PSEUDO_LABELS, STEP1, STEP2
from tests.pipeline.test_doors import refuse
from tests.support.in_process import enter, run, set_param, write_params
from tests.support.random_resnet import write_resnet50
from tests.support.tiny_refer import TinyRefer, dataset_params
from tris_core.clip.sources import load_clip
from tris_core.runtime.files import sha256_of_file
from tris_core.runtime.parquet import write_table
from tris_core.weights.clip_spec import ClipPair
from tris_core.weights.model_folder import read_config

RESNET50, TOWER = Path("resnet50.pth"), Path("tower.pth")
LAYER = "backbone.visual.layer3.0.conv2.weight"
SIZES = {
    "train_step1": {"steps": 0, "hidden": 8},
    "crf_seeds": {"iterations": 2},
    "train_irn": {"epochs": 0},
    "refine": {"exp_times": 2},  # more steps of an untrained walk fill the tiny images
    "train_step2": {"steps": 0, "width": 8},
}
STAGES = ("train_step1", "crf_seeds", "train_irn", "refine", "train_step2")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working directory with random responses, and ImageNet files for both uses."""
    folder = tmp_path_factory.mktemp("backbones")
    TinyRefer().write(folder / "root")
    with pytest.MonkeyPatch.context() as patch:
        enter(patch, folder)
        write_params({"dataset": dataset_params("root"), "pack_images": {"side": 64}, **SIZES})
        rng = np.random.default_rng(0)
        maps = [rng.normal(size=36).astype(np.float32) for _ in range(6)]
        theirs = {"expression_id": range(6), "height": 6, "width": 6, "map": maps}
        pd.DataFrame(theirs).to_parquet("theirs.parquet")
        set_param("dump_responses.from", "theirs.parquet")
        for name in ("index", "pack_images", "prepare_clip", "dump_responses"):
            run(import_module(f"stages.{name}"))
        set_param("dump_responses.from", None)
        prms = pd.read_parquet("data/responses.parquet", columns=["ref_id", "expression_id"])
        prms["selected"] = ~prms["ref_id"].duplicated()
        write_table(Path("data/prms.parquet"), prms)
        write_resnet50(RESNET50)
        demo = load_clip(ClipPair.read(CLIP).backbone).visual.state_dict()
        layers = {key: value for key, value in demo.items() if key.startswith("layer")}
        torch.save({k: v + 1 if v.ndim == 4 else v for k, v in layers.items()}, TOWER)
    return folder


@pytest.fixture(autouse=True)
def here(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(place, tmp_path / "work")
    enter(monkeypatch, tmp_path / "work")


def pipeline() -> dict[str, Tensor]:
    """Run what depends on the CLIPs. Returns one layer of Step-1 and of Step-2."""
    run(stages.prepare_clip)
    for name in STAGES:
        run(import_module(f"stages.{name}"))
    return {
        folder.name: load_file(folder / "model.safetensors")[LAYER] for folder in (STEP1, STEP2)
    }


def test_an_imagenet_tower_changes_step1_alone() -> None:
    """Table 2, "Ours*"."""
    plain = pipeline()
    assert torch.equal(plain["step1"], plain["step2"])
    files = [IRN / "model.safetensors", IRN / "config.json", PSEUDO_LABELS]
    before = [path.read_bytes() for path in files]
    set_param("prepare_clip.visual_init", "imagenet")
    set_param("prepare_clip.imagenet_weights", str(TOWER))
    starred = pipeline()
    assert torch.equal(starred["step1"], plain["step1"] + 1)
    assert torch.equal(starred["step2"], plain["step2"])
    assert [path.read_bytes() for path in files] == before
    assert read_config(STEP1).clip.imagenet is not None
    assert read_config(STEP2).clip.imagenet is None


def test_an_imagenet_backbone_changes_the_boundary_network_alone() -> None:
    set_param("prepare_clip.imagenet_weights", str(RESNET50))
    plain, clips = pipeline(), CLIP.read_bytes()
    walked = PSEUDO_LABELS.read_bytes()
    set_param("train_irn.backbone", "imagenet")
    changed = pipeline()
    assert CLIP.read_bytes() == clips, "otherwise DVC would train Step-1 again"
    assert all(torch.equal(changed[step], plain[step]) for step in plain)
    assert PSEUDO_LABELS.read_bytes() != walked
    found = ClipPair.read(CLIP)
    assert found.backbone.imagenet is None
    assert found.imagenet is not None
    assert found.imagenet.content() == {"file": str(RESNET50), "sha256": sha256_of_file(RESNET50)}
    assert read_config(IRN).content()["imagenet"] == found.imagenet.content()
    assert load_file(IRN / "model.safetensors")["fc_edge5.0.weight"].shape[1] == 2048


def test_a_resnet_that_is_missing_changed_or_of_another_size_is_refused() -> None:
    set_param("train_irn.backbone", "imagenet")
    refuse(stages.prepare_clip, "imagenet_weights = null", "`torchvision`", "backbone: clip")
    set_param("prepare_clip.imagenet_weights", "nowhere.pth")
    refuse(stages.prepare_clip, "nowhere.pth: no such file")
    set_param("prepare_clip.imagenet_weights", str(TOWER))
    refuse(stages.prepare_clip, "tower.pth: not the weights of the network; missing: bn1.bias")
    set_param("prepare_clip.imagenet_weights", str(RESNET50))
    pipeline()
    RESNET50.write_bytes(RESNET50.read_bytes() + b"\0")
    for stage in (stages.train_irn, stages.refine):
        refuse(stage, "resnet50.pth: not the file that prepare_clip saw; run `dvc repro -f")
