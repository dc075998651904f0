"""Stages refuse unusable input: one line of explanation, exit code 1, nothing written."""

import importlib
import pickle
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from ruamel.yaml import YAML
from typer.testing import CliRunner

import stages.index
import stages.pack_images
import stages.prepare_clip
from stages._artifacts import open_index, open_packed
from stages._stage import PARAMS, Run
from tests.support.closure import ROOT
from tests.support.in_process import run, set_param, write_params
from tests.support.tiny_refer import TinyRefer, dataset_params
from tris_core.data.packed import PackedImages
from tris_core.runtime.errors import InputError
from tris_core.runtime.params import read_params


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory, beside it a tiny data set that params.yaml names."""
    tiny = TinyRefer()
    tiny.write(tmp_path / "root")
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    write_params({"dataset": dataset_params(tmp_path / "root")})
    return folder


def refuse(module: object, *words: str) -> None:
    """Run a stage, which must fail with these words and write nothing."""
    result = CliRunner().invoke(module.app, [])  # type: ignore[attr-defined]
    assert result.exit_code == 1, result.output
    assert "Traceback" not in result.output
    for word in words:
        assert word in result.output
    assert {path.name for path in Path().iterdir()} <= {"params.yaml"}


@pytest.fixture(autouse=True)
def outlive_parent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stages must not make the test process end with its parent."""
    monkeypatch.setattr("stages._stage.end_with_parent", lambda: None)


def test_a_missing_image(place: Path) -> None:
    (place.parent / "root" / "train2014" / "b.jpg").unlink()
    refuse(stages.index, "index:", "b.jpg")


def test_an_unreadable_image(place: Path) -> None:
    (place.parent / "root" / "train2014" / "b.jpg").write_bytes(b"no image")
    refuse(stages.index, "b.jpg")


def test_a_pickle_that_would_execute_code(place: Path, tmp_path: Path) -> None:
    class Attack:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return Path.touch, (tmp_path / "executed",)  # type: ignore[return-value]

    path = tmp_path / "root" / "refer" / "refcocog" / "refs(umd).p"
    path.write_bytes(pickle.dumps([Attack()]))
    refuse(stages.index, "refs(umd).p")
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize(
    ("section", "key", "value", "word"),
    [
        ("train_step1", "lr", -1.0, "train_step1.lr = -1.0"),
        ("train_step1", "learning_rate", 1.0, "train_step1.learning_rate: unknown parameter"),
    ],
)
def test_a_parameter_of_any_stage_stops_the_first_one(
    place: Path, section: str, key: str, value: float, word: str
) -> None:
    set_param(f"{section}.{key}", value)
    refuse(stages.index, "params.yaml", word)


def test_a_missing_clip_folder(place: Path) -> None:
    set_param("prepare_clip.scorer", "nowhere")
    assert CliRunner().invoke(stages.index.app, []).exit_code == 0
    result = CliRunner().invoke(stages.prepare_clip.app, [])
    assert result.exit_code == 1
    assert "nowhere" in result.output
    assert not Path("models").exists()


@pytest.fixture
def packed(place: Path) -> PackedImages:
    """The images of the tiny data set after the stages `index` and `pack_images`."""
    run(stages.index)
    run(stages.pack_images)
    return opened()


def opened() -> PackedImages:
    return open_packed(Run(read_params(PARAMS)), open_index())


def test_another_machine_packs_the_same_pixels_again(
    packed: PackedImages, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = np.array([0, 1])
    assert packed[rows].shape == (2, packed.size, packed.size, 3)
    monkeypatch.setenv("TRIS_SCRATCH", str(tmp_path / "another machine"))
    assert (opened()[rows] == packed[rows]).all()


@pytest.mark.usefixtures("packed")
def test_an_image_that_changed_after_packing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.new("RGB", (60, 40), "red").save(tmp_path / "root" / "train2014" / "b.jpg")
    monkeypatch.setenv("TRIS_SCRATCH", str(tmp_path / "another machine"))
    message = r"b\.jpg: is not the image that was packed.*dvc repro -f pack_images"
    with pytest.raises(InputError, match=message):
        opened()


def test_the_exit_code_reaches_the_shell(place: Path) -> None:
    (place.parent / "root" / "train2014" / "b.jpg").unlink()
    command, env = [sys.executable, "-m", "stages.index"], {"PYTHONPATH": str(ROOT), "PATH": ""}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=env)
    assert done.returncode == 1
    assert done.stderr.startswith("index: ")


def test_every_stage_names_its_missing_input(place: Path) -> None:
    shutil.copy(ROOT / "dvc.yaml", place)
    stages_of_dvc = YAML(typ="safe").load(place / "dvc.yaml")["stages"]
    for name in stages_of_dvc.keys() - {"make_shapes", "index"}:
        result = CliRunner().invoke(importlib.import_module(f"stages.{name}").app, [])
        assert result.exit_code == 1, (name, result.output)
        assert isinstance(result.exception, SystemExit), (name, result.exception)
        found = re.search(rf"{name}: (\S+): not made yet; run `dvc repro (\w+)`", result.output)
        assert found, result.output
        assert found[2] in stages_of_dvc
    assert {path.name for path in place.iterdir()} <= {"params.yaml", "dvc.yaml", "scratch"}


@pytest.mark.parametrize("role", ["backbone", "scorer"])
def test_more_tokens_than_a_clip_reads_are_refused(role: str, place: Path) -> None:
    other = "scorer" if role == "backbone" else "backbone"
    larger = {other: "ViT-B-32-quickgelu", f"{other}_weights": "random"}
    for key, value in {"max_tokens": 33, **larger}.items():
        set_param(f"prepare_clip.{key}", value)
    message = f"max_tokens = 33: the {role} demo reads 32 tokens at most; set it to 32 or less"
    refuse(stages.prepare_clip, message)


@pytest.mark.parametrize(
    ("root", "words"),
    [("../root", "outside the repository"), ("mine", "not in git")],
)
def test_a_relative_root_must_be_tracked(place: Path, root: str, words: str) -> None:
    subprocess.run(["git", "init", "-q"], check=True)
    if not Path(root).exists():
        shutil.copytree(place.parent / "root", root)
    set_param("dataset.root", root)
    result = CliRunner().invoke(stages.index.app, [])
    assert result.exit_code == 1
    assert all(word in result.output for word in (root, words, str(Path(root).resolve())))
    subprocess.run(["git", "add", "-A"], check=True)
    tracked = CliRunner().invoke(stages.index.app, [])
    assert (tracked.exit_code == 0) == (root == "mine"), tracked.output
