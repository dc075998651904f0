"""The wheel: its contents, and that it works without repository, DVC and pydensecrf."""

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
# Imported first in the processes under test. On exit it prints which copy of the code ran.
SITE = """
import atexit, socket, sys
sys.modules.update(dvc=None, pydensecrf=None)
def refuse(*_): raise AssertionError("a connection was attempted")
socket.socket.connect = refuse
atexit.register(lambda: print("ran", sys.modules["tris_core"].__file__))
"""


def build(source: Path, out: Path, *targets: str) -> Path:
    """Build `targets` (wheel, sdist) of a folder with hatchling; return the first one's file."""
    command = [sys.executable, "-m", "hatchling", "build", "-d", str(out)]
    command += [f"-t{target}" for target in targets]
    subprocess.run(command, cwd=source, check=True, capture_output=True, text=True)
    return next(out.glob({"wheel": "*.whl", "sdist": "*.tar.gz"}[targets[0]]))


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(ROOT, tmp_path_factory.mktemp("wheel"), "wheel")


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder into which pip installed the wheel, without dependencies."""
    target = tmp_path_factory.mktemp("installed")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps"]
    pip += ["--target", str(target), str(wheel)]
    subprocess.run(pip, check=True, capture_output=True, text=True)
    (target / "sitecustomize.py").write_text(SITE)
    return target


def tris(installed: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the installed `tris` in `folder`."""
    env = {**os.environ, "PYTHONPATH": str(installed)}
    command = [str(installed / "bin" / "tris"), *arguments]
    done = subprocess.run(
        command, cwd=folder, env=env, capture_output=True, text=True, timeout=300, check=False
    )
    assert f"ran {installed / 'tris_core'}" in done.stdout
    return done


def test_the_wheel_holds_code_presets_and_licence_only(wheel: Path) -> None:
    git = ["git", "ls-files", "tris_core", "stages", "presets"]
    listed = subprocess.run(git, cwd=ROOT, capture_output=True, text=True, check=True)
    tracked = {f"{ASSETS}{n}" if n.startswith("presets/") else n for n in listed.stdout.split()}
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        for preset in (ROOT / "presets").glob("*.yaml"):
            assert archive.read(f"{ASSETS}presets/{preset.name}") == preset.read_bytes()
    info = {name for name in names if ".dist-info/" in name}
    assert names - info == tracked
    assert any(name.endswith("licenses/LICENSE") for name in info)


def test_the_wheel_holds_the_demo_models_and_nothing_else_that_is_large(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        sizes = {info.filename: info.file_size for info in archive.infolist()}
    models = [f"{ASSETS}{name}" for name in ("demo_clip", "demo_step1", "demo_step2")]
    assert {f"{model}/config.json" for model in models} <= sizes.keys()
    large = {name for name, size in sizes.items() if size >= 100_000}
    assert large == {f"{model}/model.safetensors" for model in models}
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
    photo, text = tmp_path / "photo.png", "red star on the left"
    blocks = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    Image.fromarray(blocks).resize((160, 120), Image.Resampling.NEAREST).save(photo)
    options = ["--image", photo.name, "--text", text, "--out", "out"]
    done = tris(installed, tmp_path, "predict", *options)
    assert done.returncode == 0, done.stderr
    (mask,) = (tmp_path / "out").glob("*mask*")
    predictor = Predictor.load(*(ROOT / ASSETS / f"demo_step{n}" for n in (1, 2)))
    [expected] = predictor.predict(photo, [text])
    assert expected.mask.any()
    assert np.array_equal(np.asarray(Image.open(mask)) > 0, expected.mask)


def test_commands_that_need_dvc_say_so(installed: Path, tmp_path: Path) -> None:
    done = tris(installed, tmp_path, "compare", "full")
    assert done.returncode == 1
    assert "DVC, which is not installed" in done.stderr
    assert "Traceback" not in done.stderr


def test_presets_are_written_but_not_over_an_existing_file(installed: Path, tmp_path: Path) -> None:
    assert tris(installed, tmp_path, "preset", "paper").returncode == 0
    assert (tmp_path / "params.yaml").read_bytes() == (ROOT / "presets" / "paper.yaml").read_bytes()
    again = tris(installed, tmp_path, "preset", "shapes")
    assert again.returncode == 1
    assert "params.yaml: is there already" in again.stderr
    unknown = tris(installed, tmp_path, "preset", "papers", "--out", "other.yaml")
    assert "there are paper, paper-literal, release-2024, shapes, shapes-long" in unknown.stderr


def test_citation_and_changelog_name_this_version() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    citation = YAML(typ="safe").load(ROOT / "CITATION.cff")
    assert (citation["version"], citation["license"]) == (project["version"], project["license"])
    assert {"cff-version", "message", "title", "authors"} <= citation.keys()
    paper = citation["preferred-citation"]
    authors = " ".join(author["family-names"] for author in paper["authors"])
    assert authors == "Liu Liu Kong Xu Zhang Yin Hancke Lau"
    assert paper["title"] == "Referring Image Segmentation Using Text Supervision"
    assert paper["year"] == 2023
    assert (ROOT / "LICENSE").read_text().split()[:4] == ["Apache", "License", "Version", "2.0,"]
    headings = (f"## [{project['version']}]", "## [Unreleased]")
    changelog = (ROOT / "CHANGELOG.md").read_text()
    assert any(heading in changelog for heading in headings)
