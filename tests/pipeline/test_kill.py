"""A disturbed run (killed, disk full, a flipped bit, a NaN loss) recovers to the same results.

Three fixed kills. `python -m tests.pipeline.kill` kills at random times, any number of times.
"""

import hashlib
import shutil
import signal
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pandas as pd
import pytest
import torch
from ruamel.yaml import YAML
from typer.testing import CliRunner, Result

import stages.index
import stages.pack_images
import stages.prepare_clip
import stages.train_step1
import tris_core.step1.training
from tests.pipeline.kill import Blow, check, mend_lock, names, outputs, strike
from tests.support.closure import ROOT
from tests.support.full_disk import at_most
from tests.support.in_process import enter, run, write_params
from tests.support.project import Project
from tests.support.tiny_refer import TinyRefer, dataset_params

pytestmark = pytest.mark.timeout(1800)
KILLED = {
    "crf_seeds": Blow("worker", signal.SIGKILL),
    "score_prms": Blow("dvc", signal.SIGTERM, seconds=1.5),
    "train_step2": Blow("terminal", signal.SIGINT, writes=1),
}


@pytest.fixture
def without_run_cache(project: Project, clean: None) -> Iterator[None]:
    """Hide DVC's run-cache during a test and restore it afterwards."""
    runs, aside = project.folder / ".dvc/cache/runs", project.folder / ".dvc/cache/aside"
    runs.rename(aside)
    yield
    shutil.rmtree(runs, ignore_errors=True)
    aside.rename(runs)


@pytest.mark.usefixtures("without_run_cache")
@pytest.mark.parametrize("stage", KILLED)
def test_a_killed_stage_reruns_to_the_same_bytes(project: Project, stage: str) -> None:
    undisturbed = outputs(project), names(project)
    for _ in range(10):  # workers live for 0.2 s, so a kill may come too late
        forget(project, stage)
        if not strike(project, KILLED[stage], "-s", stage):
            break
        check(project, undisturbed)
    else:
        pytest.fail("ten times the stage finished before it was killed")
    assert stage in project.repro()
    check(project, undisturbed)


def forget(project: Project, stage: str) -> None:
    """Remove a stage from dvc.lock, its outputs from DVC's cache, and the run-cache."""
    shutil.rmtree(project.folder / ".dvc/cache/runs", ignore_errors=True)
    lock = project.folder / "dvc.lock"
    content = YAML(typ="safe").load(lock)
    for out in content["stages"].pop(stage)["outs"]:
        kept = project.folder / ".dvc/cache/files/md5" / out["md5"][:2] / out["md5"][2:]
        kept.unlink(missing_ok=True)
    YAML(typ="safe").dump(content, lock)


@pytest.fixture(scope="module")
def indexed(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A copy of the project in which DVC has run the stage `index`."""
    project = Project(tmp_path_factory.mktemp("indexed") / "project")
    project.repro("index")
    return project


def test_a_flipped_bit_in_an_output_is_noticed(indexed: Project) -> None:
    refs = indexed.folder / "data/index/refs.parquet"
    good = refs.read_bytes()
    flip(refs)
    assert "data/index" in indexed.run("dvc", "status", "index")
    indexed.repro("index")
    assert refs.read_bytes() == good


def test_a_flipped_bit_in_the_cache_is_repaired_by_the_script(indexed: Project) -> None:
    undisturbed = outputs(indexed), names(indexed)
    refs = indexed.folder / "data/index/refs.parquet"
    good = refs.read_bytes()
    digest = hashlib.md5(good).hexdigest()
    flip(indexed.folder / ".dvc/cache/files/md5" / digest[:2] / digest[2:])
    refs.unlink()
    indexed.repro("index")
    assert refs.read_bytes() != good, "DVC now notices it: docs/mend_cache.sh is not needed"
    assert digest[2:] in indexed.run("bash", str(ROOT / "docs/mend_cache.sh"))
    assert indexed.repro("index") == {"index"}
    assert refs.read_bytes() == good
    check(indexed, undisturbed)


def test_deleting_a_truncated_lock_file_lets_dvc_continue(project: Project, clean: None) -> None:
    (project.folder / ".dvc/tmp/rwlock").write_text("")
    said = project.run("dvc", "repro", check=False)
    assert "'.dvc/tmp/rwlock'" in said, "DVC no longer stops: `mend_lock` is not needed"
    mend_lock(project)
    assert project.repro() == set()


def flip(path: Path) -> None:
    """Flip one bit of a file, even a write-protected one, as a failing disk does."""
    mode, content = path.stat().st_mode, bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.chmod(0o644)
    path.write_bytes(content)
    path.chmod(mode)


@pytest.fixture
def prepared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with the index of a tiny data set."""
    TinyRefer().write(tmp_path / "root")
    folder = tmp_path / "work"
    folder.mkdir()
    enter(monkeypatch, folder)
    write_params(
        {
            "dataset": dataset_params(tmp_path / "root"),
            "pack_images": {"side": 64},
            "train_step1": {"steps": 20, "batch": 2, "hidden": 8},
            "runtime": {"checkpoint_seconds": 0.0, "device": "cpu", "workers": 1, "threads": 1},
        }
    )
    run(stages.index)
    return folder


def test_a_full_disk_leaves_no_partial_files(prepared: Path) -> None:
    before = {path: path.read_bytes() for path in Path("data").rglob("*.parquet")}
    for stage in (stages.index, stages.pack_images):
        with at_most(1000):
            result = CliRunner().invoke(stage.app, [])
        assert result.exit_code == 1
        assert "no space to write it (File too large); free some" in result.output
        assert "Traceback" not in result.output
    assert {path: path.read_bytes() for path in Path("data").rglob("*") if path.is_file()} == before
    run(stages.pack_images)
    assert not list(Path("scratch/images").glob("packing/*"))


def train_with_nan_at(step: int, monkeypatch: pytest.MonkeyPatch) -> Result:
    """Run train_step1 with a classification loss that is NaN at one step (from 1)."""
    original, steps = tris_core.step1.training.classification_loss, count(1)

    def faulty(*arguments: torch.Tensor) -> torch.Tensor:
        return original(*arguments) * (float("nan") if next(steps) == step else 1.0)

    with monkeypatch.context() as patch:
        patch.setattr(tris_core.step1.training, "classification_loss", faulty)
        return CliRunner().invoke(stages.train_step1.app, [])


@pytest.fixture
def trainable(prepared: Path) -> Path:
    """A working directory in which everything before train_step1 has run."""
    run(stages.pack_images)
    run(stages.prepare_clip)
    return prepared


@pytest.mark.usefixtures("trainable")
def test_a_nan_loss_stops_the_training_and_names_its_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    result = train_with_nan_at(13, monkeypatch)
    assert result.exit_code == 1
    assert "train_step1: Step-1: loss not finite at step 13: total nan, cls nan" in result.output
    assert "its batch: ref_id 1" in result.output
    assert "the checkpoint of step 10 is kept" in result.output
    assert "Traceback" not in result.output
    assert not Path("models/step1").exists()
    curve = pd.read_csv("metrics/curves/step1.csv")
    assert curve["step"].tolist() == [10], "it is written while the training runs"


@pytest.mark.usefixtures("trainable")
def test_a_training_resumes_after_a_nan_loss_to_the_same_bytes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, curve = Path("models/step1/model.safetensors"), Path("metrics/curves/step1.csv")
    run(stages.train_step1)
    undisturbed = model.read_bytes(), curve.read_bytes()
    shutil.rmtree("models/step1")
    assert train_with_nan_at(13, monkeypatch).exit_code == 1
    assert "continuing from step 10" in run(stages.train_step1)
    assert (model.read_bytes(), curve.read_bytes()) == undisturbed
