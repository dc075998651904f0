"""What the wheel carries, and that it works with neither the repository nor DVC nor pydensecrf; citation and changelog."""

import os
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from ruamel.yaml import YAML

from tests.support.closure import ROOT
from tris_core.predict import Predictor

ASSETS = "tris_core/assets/"
# Runs before anything else in the processes under test; at their end it says whose code ran.
SITE = """
import atexit, socket, sys
sys.modules.update(dvc=None, pydensecrf=None)
def refuse(*_): raise AssertionError("the network was asked for")
socket.socket.connect = refuse
atexit.register(lambda: print("ran", sys.modules["tris_core"].__file__))
"""


def build(source: Path, out: Path, *targets: str) -> Path:
    """The first of `targets` (wheel, sdist) that hatchling makes of a folder."""
    command = [
        sys.executable,
        "-m",
        "hatchling",
        "build",
        "-d",
        str(out),
        *(f"-t{target}" for target in targets),
    ]
    subprocess.run(command, cwd=source, check=True, capture_output=True, text=True)
    return next(out.glob({"wheel": "*.whl", "sdist": "*.tar.gz"}[targets[0]]))


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(ROOT, tmp_path_factory.mktemp("wheel"), "wheel")


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that pip installed the wheel into, without its dependencies."""
    target = tmp_path_factory.mktemp("installed")
    pip = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-index",
        "--no-deps",
        "--target",
        str(target),
        str(wheel),
    ]
    subprocess.run(pip, check=True, capture_output=True, text=True)
    (target / "sitecustomize.py").write_text(SITE)
    return target


def tris(installed: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONPATH": str(installed)}
    command = [str(installed / "bin" / "tris"), *arguments]
    done = subprocess.run(
        command, cwd=folder, env=env, capture_output=True, text=True, timeout=300, check=False
    )
    assert f"ran {installed / 'tris_core'}" in done.stdout
    return done


def test_the_wheel_holds_the_code_the_models_and_the_presets_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        sizes = {info.filename: info.file_size for info in archive.infolist()}
        for preset in (ROOT / "presets").glob("*.yaml"):
            assert archive.read(f"{ASSETS}presets/{preset.name}") == preset.read_bytes()
    tracked = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    code = {name for name in tracked if name.startswith(("tris_core/", "stages/"))}
    presets = {f"{ASSETS}{name}" for name in tracked if name.startswith("presets/")}
    info = {name for name in names if ".dist-info/" in name}
    assert set(names) - info == code | presets
    assert any(name.endswith("licenses/LICENSE") for name in info)
    for model in ("demo_clip", "demo_step1", "demo_step2"):
        assert {f"{ASSETS}{model}/config.json", f"{ASSETS}{model}/model.safetensors"} <= set(names)
    assert all(
        size < 100_000 or name.endswith("/model.safetensors") for name, size in sizes.items()
    )
    assert sum(sizes.values()) < 40_000_000


def test_the_source_distribution_builds_the_same_wheel(wheel: Path, tmp_path: Path) -> None:
    with tarfile.open(build(ROOT, tmp_path / "sdist", "sdist")) as archive:
        top = {Path(name).parts[1] for name in archive.getnames()}
        archive.extractall(tmp_path / "source", filter="data")
    documents = {"README.md", "LICENSE", "CHANGELOG.md", "CITATION.cff", "PKG-INFO", ".gitignore"}
    assert top == {"tris_core", "stages", "presets", "pyproject.toml"} | documents
    (source,) = (tmp_path / "source").iterdir()
    assert build(source, tmp_path / "again", "wheel").read_bytes() == wheel.read_bytes()


def test_predicting_with_the_wheel_alone(installed: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    photo = tmp_path / "photo.png"
    Image.fromarray(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)).resize(
        (160, 120), Image.Resampling.NEAREST
    ).save(photo)
    text = "red star on the left"
    done = tris(
        installed, tmp_path, "predict", "--image", photo.name, "--text", text, "--out", "out"
    )
    assert done.returncode == 0, done.stderr
    (mask,) = (tmp_path / "out").glob("*mask*")
    expected = (
        Predictor.load(*(ROOT / ASSETS / f"demo_step{n}" for n in (1, 2)))
        .predict(photo, [text])[0]
        .mask
    )
    assert expected.any()
    assert np.array_equal(np.asarray(Image.open(mask)) > 0, expected)


def test_what_needs_dvc_says_so_and_a_preset_comes_out(installed: Path, tmp_path: Path) -> None:
    done = tris(installed, tmp_path, "compare", "full")
    assert done.returncode == 1
    assert "DVC, which is not installed" in done.stderr
    assert "Traceback" not in done.stderr
    assert tris(installed, tmp_path, "preset", "paper").returncode == 0
    assert (tmp_path / "params.yaml").read_bytes() == (ROOT / "presets" / "paper.yaml").read_bytes()
    again = tris(installed, tmp_path, "preset", "shapes")
    assert again.returncode == 1
    assert "params.yaml: is there already" in again.stderr
    unknown = tris(installed, tmp_path, "preset", "papers", "--out", "other.yaml")
    assert "there are paper, paper-literal, release-2024, shapes" in unknown.stderr


def test_citation_and_changelog_name_this_version() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    citation = YAML(typ="safe").load(ROOT / "CITATION.cff")
    assert (citation["version"], citation["license"]) == (project["version"], project["license"])
    assert {"cff-version", "message", "title", "authors"} <= citation.keys()
    paper = citation["preferred-citation"]
    assert [author["family-names"] for author in paper["authors"]] == [
        "Liu",
        "Liu",
        "Kong",
        "Xu",
        "Zhang",
        "Yin",
        "Hancke",
        "Lau",
    ]
    assert (paper["title"], paper["year"]) == (
        "Referring Image Segmentation Using Text Supervision",
        2023,
    )
    assert (ROOT / "LICENSE").read_text().split()[:4] == ["Apache", "License", "Version", "2.0,"]
    assert (
        f"## [{project['version']}]" in (text := (ROOT / "CHANGELOG.md").read_text())
        or "## [Unreleased]" in text
    )
