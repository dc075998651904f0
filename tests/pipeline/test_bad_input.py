"""What a stage does with input it cannot use: a plain message, exit code 1, nothing written. And with photographs: it runs."""

import importlib
import pickle
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from ruamel.yaml import YAML
from typer.testing import CliRunner

import stages.index
import stages.pack_images
import stages.prepare_clip
from tests.support.closure import ROOT
from tests.support.tiny_refer import TinyRefer


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder with a small real-layout data set beside it, and parameters that name it."""
    tiny = TinyRefer()
    tiny.write(tmp_path / "root")
    folder = tmp_path / "work"
    folder.mkdir()
    content = YAML().load(ROOT / "presets" / "shapes.yaml")
    content["dataset"] = {
        "name": "refcocog",
        "split_by": "umd",
        "root": str(tmp_path / "root"),
        "annotations": "refer/refcocog",
    }
    YAML().dump(content, folder / "params.yaml")
    monkeypatch.chdir(folder)
    return folder


def refuse(module: object, *words: str) -> None:
    result = CliRunner().invoke(module.app, [])  # type: ignore[attr-defined]
    assert result.exit_code == 1, result.output
    assert "Traceback" not in result.output
    for word in words:
        assert word in result.output
    assert {path.name for path in Path().iterdir()} <= {"params.yaml"}


@pytest.fixture(autouse=True)
def no_death_wish(monkeypatch: pytest.MonkeyPatch) -> None:
    """The test process must not ask to end with its parent."""
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
    content = YAML().load(place / "params.yaml")
    content[section][key] = value
    YAML().dump(content, place / "params.yaml")
    refuse(stages.index, "params.yaml", word)


def test_a_clip_folder_that_is_not_there(place: Path) -> None:
    content = YAML().load(place / "params.yaml")
    content["prepare_clip"]["scorer"] = "nowhere"
    YAML().dump(content, place / "params.yaml")
    assert CliRunner().invoke(stages.index.app, []).exit_code == 0
    result = CliRunner().invoke(stages.prepare_clip.app, [])
    assert result.exit_code == 1
    assert "nowhere" in result.output
    assert not Path("models").exists()


def test_an_image_that_changed_after_packing(
    place: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import pandas as pd
    from PIL import Image

    from stages._artifacts import open_index, open_packed
    from stages._stage import PARAMS, Run
    from tris_core.data.packed import PackedImages
    from tris_core.runtime.errors import InputError
    from tris_core.runtime.params import read_params

    def packed_images() -> PackedImages:
        return open_packed(Run(read_params(PARAMS)), open_index())

    assert CliRunner().invoke(stages.index.app, []).exit_code == 0
    result = CliRunner().invoke(stages.pack_images.app, [])
    assert result.exit_code == 0, result.output
    packed = packed_images()
    assert packed[pd.Series([0, 1]).to_numpy()].shape == (2, 3, packed.size, packed.size)
    monkeypatch.setenv("TRIS_SCRATCH", str(tmp_path / "another machine"))
    again = packed_images()
    assert (again[pd.Series([1]).to_numpy()] == packed[pd.Series([1]).to_numpy()]).all()
    Image.new("RGB", (60, 40), "red").save(place.parent / "root" / "train2014" / "b.jpg")
    monkeypatch.setenv("TRIS_SCRATCH", str(tmp_path / "a third"))
    with pytest.raises(
        InputError, match=r"b\.jpg: is not the image that was packed.*dvc repro -f pack_images"
    ):
        packed_images()


def test_the_exit_code_reaches_the_shell(place: Path) -> None:
    (place.parent / "root" / "train2014" / "b.jpg").unlink()
    command = [sys.executable, "-m", "stages.index"]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": str(ROOT), "PATH": ""},
    )
    assert done.returncode == 1
    assert done.stderr.startswith("index: ")


def test_every_stage_names_the_input_that_was_not_made_yet(place: Path) -> None:
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
def test_more_tokens_than_a_clip_reads_are_refused_where_it_is_found(
    role: str, place: Path
) -> None:
    other = "scorer" if role == "backbone" else "backbone"
    content = YAML().load(Path("params.yaml"))
    content["prepare_clip"].update(
        {"max_tokens": 33, other: "ViT-B-32-quickgelu", f"{other}_weights": "random"}
    )
    YAML().dump(content, Path("params.yaml"))
    refuse(
        stages.prepare_clip,
        f"max_tokens = 33: the {role} demo reads 32 tokens at most; set it to 32 or less",
    )


@pytest.mark.parametrize(
    ("root", "words"),
    [("../root", "outside the repository"), ("mine", "not in git")],
)
def test_a_relative_root_that_copies_of_the_repository_would_not_find(
    place: Path, root: str, words: str
) -> None:
    subprocess.run(["git", "init", "-q"], check=True)
    if not Path(root).exists():
        shutil.copytree(place.parent / "root", root)
    content = YAML().load(Path("params.yaml"))
    content["dataset"]["root"] = root
    YAML().dump(content, Path("params.yaml"))
    result = CliRunner().invoke(stages.index.app, [])
    assert result.exit_code == 1
    assert all(word in result.output for word in (root, words, str(Path(root).resolve())))
    subprocess.run(["git", "add", "-A"], check=True)
    tracked = CliRunner().invoke(stages.index.app, [])
    assert (tracked.exit_code == 0) == (root == "mine"), tracked.output
