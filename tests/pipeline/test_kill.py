"""Disturbed in the middle (killed, out of disk, bytes flipped, a loss gone wrong), a run ends where it would have ended.

`python -m tests.pipeline.kill` kills at random, as often as one likes; here are three of its blows.
"""

import hashlib
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from ruamel.yaml import YAML
from typer.testing import CliRunner

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
from tests.support.tiny_refer import TinyRefer
from tris_core.runtime.files import sha256_of_file

pytestmark = pytest.mark.timeout(1800)
KILLED = {
    "crf_seeds": Blow("worker", signal.SIGKILL),
    "score_prms": Blow("dvc", signal.SIGTERM, seconds=1.5),
    "train_step2": Blow("terminal", signal.SIGINT, writes=2),
}


@pytest.fixture
def without_run_cache(project: Project, clean: None) -> Iterator[None]:
    """DVC remembers no earlier run while a test lasts; the tests that count on its memory find it as it was."""
    runs, aside = project.folder / ".dvc/cache/runs", project.folder / ".dvc/cache/aside"
    runs.rename(aside)
    yield
    shutil.rmtree(runs, ignore_errors=True)
    aside.rename(runs)


@pytest.mark.usefixtures("without_run_cache")
@pytest.mark.parametrize("stage", KILLED)
def test_a_killed_stage_is_made_again_to_the_same_bytes(project: Project, stage: str) -> None:
    undisturbed = outputs(project), names(project)
    for _ in range(10):  # workers live for 0.2 s: a blow may fall when their work is done
        forget(project, stage)
        if not strike(project, KILLED[stage], "-s", stage):
            break
        check(project, undisturbed)
    else:
        pytest.fail("it was done before it could be killed, ten times")
    assert stage in project.repro()
    check(project, undisturbed)


def forget(project: Project, stage: str) -> None:
    """Take a stage out of dvc.lock, its outputs out of DVC's cache, and what DVC remembers of runs since the test began."""
    shutil.rmtree(project.folder / ".dvc/cache/runs", ignore_errors=True)
    lock = project.folder / "dvc.lock"
    content = YAML(typ="safe").load(lock)
    for out in content["stages"].pop(stage)["outs"]:
        kept = project.folder / ".dvc/cache/files/md5" / out["md5"][:2] / out["md5"][2:]
        kept.unlink(missing_ok=True)
    YAML(typ="safe").dump(content, lock)


def test_a_flipped_byte_of_an_output_is_noticed_and_one_of_the_cache_is_mended(
    tmp_path: Path,
) -> None:
    project = Project(tmp_path / "project")
    project.repro("index")
    undisturbed, refs = (
        (outputs(project), names(project)),
        project.folder / "data/index/refs.parquet",
    )
    good = refs.read_bytes()
    flip(refs)
    assert "data/index/refs.parquet" in project.run("dvc", "status", "index")
    project.repro("index")
    assert refs.read_bytes() == good
    digest = hashlib.md5(good).hexdigest()
    flip(project.folder / ".dvc/cache/files/md5" / digest[:2] / digest[2:])
    refs.unlink()
    project.repro("index")
    assert refs.read_bytes() != good, "DVC has learnt to notice: docs/mend_cache.sh can go"
    assert digest[2:] in project.run("bash", str(ROOT / "docs/mend_cache.sh"))
    assert project.repro("index") == {"index"}
    assert refs.read_bytes() == good
    check(project, undisturbed)


def test_dvc_goes_on_when_its_list_of_locks_that_was_cut_off_is_deleted(
    project: Project, clean: None
) -> None:
    (project.folder / ".dvc/tmp/rwlock").write_text("")
    assert "'.dvc/tmp/rwlock'" in project.run("dvc", "repro", check=False), (
        "DVC writes it whole: `mend_lock` can go"
    )
    mend_lock(project)
    assert project.repro() == set()


def flip(path: Path) -> None:
    """Change one bit of a file, write-protected or not, as a failing disk does."""
    mode, content = path.stat().st_mode, bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.chmod(0o644)
    path.write_bytes(content)
    path.chmod(mode)


@pytest.fixture
def prepared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a tiny data set that was indexed."""
    TinyRefer().write(tmp_path / "root")
    folder = tmp_path / "work"
    folder.mkdir()
    enter(monkeypatch, folder)
    write_params(
        {
            "dataset": {
                "name": "refcocog",
                "split_by": "umd",
                "root": str(tmp_path / "root"),
                "annotations": "refer/refcocog",
            },
            "pack_images": {"size": 64},
            "train_step1": {"steps": 20, "batch": 2, "hidden": 8},
            "runtime": {"checkpoint_seconds": 0.0, "device": "cpu", "workers": 1, "threads": 1},
        }
    )
    run(stages.index)
    return folder


def test_a_full_disk_is_said_plainly_and_leaves_nothing_half_written(prepared: Path) -> None:
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


def test_a_loss_that_is_no_number_stops_with_its_refs_and_the_run_goes_on_to_the_same_bytes(
    prepared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(stages.pack_images)
    run(stages.prepare_clip)
    run(stages.train_step1)
    undisturbed, curve = (
        sha256_of_file(Path("models/step1/model.safetensors")),
        Path("metrics/curves/step1.csv").read_bytes(),
    )
    shutil.rmtree("models/step1")
    honest, called = tris_core.step1.training.classification_loss, []

    def faulty(*arguments: torch.Tensor) -> torch.Tensor:
        called.append(1)
        return honest(*arguments) * (float("nan") if len(called) == 13 else 1.0)

    with monkeypatch.context() as patch:
        patch.setattr(tris_core.step1.training, "classification_loss", faulty)
        result = CliRunner().invoke(stages.train_step1.app, [])
    assert result.exit_code == 1
    assert (
        "train_step1: Step-1: loss not finite at step 13: total nan, cls nan, pos" in result.output
    )
    assert "its batch: ref_id 1" in result.output
    assert "the checkpoint of step 10 is kept" in result.output
    assert "Traceback" not in result.output
    assert not Path("models/step1").exists()
    assert "continuing from step 10" in run(stages.train_step1)
    assert sha256_of_file(Path("models/step1/model.safetensors")) == undisturbed
    assert Path("metrics/curves/step1.csv").read_bytes() == curve
