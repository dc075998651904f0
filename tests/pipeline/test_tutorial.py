"""Run docs/tutorial.md from its first command to its last, on drawn pictures.

Stages run in this process instead of under DVC. `tris fetch` talks to a hub on the loopback
address. The names of OpenAI's CLIPs mean small networks. Otherwise only sizes are changed.
"""

import json
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pandas as pd
import pyarrow.parquet as pq
import pytest
from PIL import Image
from ruamel.yaml import YAML
from safetensors.torch import save
from typer.testing import CliRunner

from tests.support.artifacts import ARTIFACTS, columns
from tests.support.closure import ROOT
from tests.support.hub import MAIN, run_fetch, serve
from tests.support.in_process import enter, run
from tests.support.random_resnet import write_resnet50
from tests.support.stages import STAGES
from tests.support.tiny_clips import TEXT, TOWERS
from tris_core.cli.main import app
from tris_core.clip.towers import build_clip
from tris_core.runtime.files import sha256_of_file
from tris_core.weights.clip_spec import ClipConfig

FENCES = re.findall(
    r"^```(\w+)\n(.*?)^```$", (ROOT / "docs" / "tutorial.md").read_text(), re.MULTILINE | re.DOTALL
)
HOME = "/home/me"
CLIPS = {
    "RN50-quickgelu": ("timm/resnet50_clip.openai", TOWERS["tiny"]),
    "ViT-B-32-quickgelu": ("timm/vit_base_patch32_clip_224.openai", TOWERS["vit"]),
}
SMALL: dict[str, dict[str, Any]] = {
    "pack_images": {"side": 64},
    "train_step1": {"hidden": 16, "batch": 4},
    "crf_seeds": {"iterations": 2},
    "train_irn": {"epochs": 1, "batch": 4, "crop": 64, "radius": 4},
    "train_step2": {"width": 8, "batch": 4},
    "runtime": {"device": "cpu", "threads": 1},
}
SHORT = {"train_step1": {"epochs": 2}, "train_step2": {"epochs": 2}}  # the paper's are fifteen


class Reader:
    """Does what the tutorial says, in a folder that is both clone and home."""

    def __init__(self, folder: Path, hub: str) -> None:
        self.folder, self.hub, self.predicted = folder, hub, 0
        (folder / "photos").mkdir()
        (folder / "presets").symlink_to(ROOT / "presets")
        shutil.copy2(ROOT / "presets" / "shapes.yaml", folder / "params.yaml")

    def csv(self, content: str) -> None:
        (self.folder / "photos" / "list.csv").write_text(content)
        rng = np.random.default_rng(0)
        for name in pd.read_csv(self.folder / "photos" / "list.csv")["image"].unique():
            blocks = Image.fromarray(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8))
            blocks.resize((96, 72), Image.Resampling.NEAREST).save(self.folder / "photos" / name)

    def bash(self, content: str) -> None:
        for line in content.splitlines():
            command = shlex.split(line)
            if command[:2] != ["uv", "run"]:
                subprocess.run(["bash", "-c", line], check=True)
            elif command[2:5] == ["dvc", "exp", "run"]:
                self.exp_run(command[5:])
            elif command[2:4] == ["tris", "fetch"]:
                done = run_fetch(command[4], self.hub, self.folder / "hub")
                assert not done.returncode, done.stderr
            else:
                assert command[2] == "tris"
                result = CliRunner().invoke(app, command[3:], catch_exceptions=False)
                assert not result.exit_code, result.output
                self.predicted += result.output.count("confidence")

    def exp_run(self, words: list[str]) -> None:
        """Set the parameters of `-S section.name=value ...`, then run every stage."""
        params = YAML().load(Path("params.yaml"))
        assert words[::2] == ["-S"] * (len(words) // 2)
        for place, value in (word.split("=", 1) for word in words[1::2]):
            section, name = place.split(".")
            assert name in params[section]
            params[section][name] = YAML(typ="safe").load(value)
        changes = [SMALL] if params["train_step1"]["epochs"] is None else [SMALL, SHORT]
        for section, values in ((s, v) for change in changes for s, v in change.items()):
            params[section].update(values)
        YAML().dump(params, Path("params.yaml"))
        for stage in STAGES:
            run(import_module(f"stages.{stage}"))

    def python(self, content: str) -> None:
        exec(content, {})


@pytest.fixture(scope="module")
def followed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    """The folder after the last command."""
    folder = tmp_path_factory.mktemp("tutorial")
    files = {}
    with pytest.MonkeyPatch.context() as patch:
        enter(patch, folder)
        patch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(folder / "hub"))
        for name, (repository, tower) in CLIPS.items():
            config = {
                "embed_dim": 16,
                "vision_cfg": tower,
                "text_cfg": {**TEXT, "vocab_size": 49408, "context_length": 77},
            }
            patch.setitem(open_clip.factory._MODEL_CONFIGS, name, {**config, "quick_gelu": True})
            weights = save(
                build_clip(ClipConfig.model_validate({**config, "quick_gelu": True})).state_dict()
            )
            files[f"/{repository}/resolve/main/open_clip_model.safetensors"] = (MAIN, weights)
        resnet = save(write_resnet50(folder / "resnet50.pth"))
        files["/timm/resnet50.tv_in1k/resolve/main/model.safetensors"] = (MAIN, resnet)
        with serve(files) as endpoint:
            reader = Reader(folder, endpoint)
            for kind, content in FENCES:  # csv, bash or python
                getattr(reader, kind)(content.replace(HOME, str(folder)))
        yield reader


def test_the_models_start_from_what_was_fetched(followed: Reader) -> None:
    clip = json.loads((followed.folder / "models" / "clip.json").read_text())
    fetched = {
        sha256_of_file(path) for path in followed.folder.glob("hub/*/snapshots/*/*.safetensors")
    }
    found = {clip[part]["sha256"] for part in ("backbone", "scorer", "imagenet")}
    assert len(found) == 3
    assert found == fetched
    config = json.loads((followed.folder / "models" / "step1" / "config.json").read_text())
    assert config["clip"]["sha256"] == clip["backbone"]["sha256"]


def test_every_sentence_has_a_mask(followed: Reader) -> None:
    sentences = pd.read_csv(followed.folder / "photos" / "list.csv")
    predictions = pd.read_parquet(followed.folder / "data" / "predictions.parquet")
    assert sorted(predictions["expression_id"]) == list(range(1, len(sentences) + 1))
    for metrics in followed.folder.glob("metrics/*.json"):
        assert not re.search(r"\d\.\d", metrics.read_text()), "nothing is measured without masks"
    labels = pd.read_parquet(followed.folder / "data" / "pseudo_labels.parquet")
    assert len(labels) == len(
        sentences[sentences["split"] == "train"].drop_duplicates(["image", "object"])
    )


def test_predicting_wrote_its_pictures(followed: Reader) -> None:
    pictures = sentences = 0
    for out, images, texts in (
        ("out", 1, 2),
        ("all", len(list(followed.folder.glob("photos/*.jpg"))), 1),
    ):
        pictures += len(list((followed.folder / out).glob("*_mask.png")))
        sentences += images * texts
    assert pictures == sentences == followed.predicted


def test_the_tables_have_the_columns_of_the_architecture_page(followed: Reader) -> None:
    for path, (_, described) in ARTIFACTS.items():
        assert columns(pq.read_schema(followed.folder / path).names) == described, path
