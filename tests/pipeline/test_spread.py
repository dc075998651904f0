"""Two processes do what one does: the same files from stages that look at an image at a time, the same losses in training."""

import os
import shutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from tests.support.closure import ROOT
from tests.support.in_process import enter, run, write_params

PREPARED = ("make_shapes", "index", "pack_images", "prepare_clip")
SHARED = (
    "dump_responses", "score_prms", "crf_seeds", "refine", "predict_step2", "evaluate_step2",
)  # fmt: skip
TRAINED = ("train_step1", "train_irn", "train_step2")
ORDER = (
    "train_step1", "dump_responses", "evaluate_step1", "score_prms", "crf_seeds", "train_irn", "refine", "train_step2",
    "predict_step2", "evaluate_step2",
)  # fmt: skip
FILES = (
    "data/responses.parquet", "data/prms.parquet", "data/crf_seeds.parquet", "data/pseudo_labels.parquet",
    "data/predictions.parquet",
)  # fmt: skip
LOOPBACK = {
    "PET_LOCAL_ADDR": "127.0.0.1",
    "GLOO_SOCKET_IFNAME": "lo",
}  # whatever this machine's name resolves to
# Low learning rates: from the first update on, losses differ by the rounding of gradients times the rate, and AdamW's first
# update is the rate itself wherever a gradient is not zero. Every CPU rounds in its own way.
SMALL: dict[str, dict[str, Any]] = {
    "make_shapes": {"train": 8, "val": 3, "test": 24},
    "pack_images": {"size": 64},
    "train_step1": {"steps": 3, "batch": 8, "hidden": 16, "lr": 5e-5},
    "crf_seeds": {"iterations": 2},
    "train_irn": {"epochs": 1, "batch": 4, "crop": 64, "radius": 4, "lr": 0.01},
    "refine": {"radius": 3, "exp_times": 3},
    "train_step2": {"steps": 3, "batch": 4, "width": 8, "lr": 5e-5},
    "runtime": {"device": "cpu", "threads": 1},
}


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which one process ran everything."""
    folder = tmp_path_factory.mktemp("alone")
    with pytest.MonkeyPatch.context() as patch:
        enter(patch, folder)
        write_params(SMALL)
        for name in (*PREPARED, *ORDER):
            run(import_module(f"stages.{name}"))
    return folder


@pytest.fixture(scope="module")
def together(alone: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of it in which two processes made everything anew, from the same inputs."""
    folder = tmp_path_factory.mktemp("together") / "copy"
    shutil.copytree(alone, folder)
    for name in FILES:
        (folder / name).unlink()
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node=2",
        "-m",
    ]
    env = {
        **os.environ,
        **LOOPBACK,
        "TRIS_SCRATCH": str(folder / "scratch"),
        "PYTHONPATH": str(ROOT),
    }
    subprocess.run(
        [*command, "tests.pipeline.ranks", str(folder), *SHARED, *TRAINED],
        env=env,
        check=True,
        timeout=600,
    )
    return folder


@pytest.mark.parametrize(
    "file", [*FILES, "metrics/step2.json", "data/evaluation/step2/records.parquet"]
)
def test_shared_work_gives_the_same_bytes(file: str, alone: Path, together: Path) -> None:
    assert (together / file).read_bytes() == (alone / file).read_bytes()


@pytest.mark.parametrize("name", ["step1", "irn", "step2"])
def test_trainings_see_the_same_losses(name: str, alone: Path, together: Path) -> None:
    """Batch norm and, in Step-1, the negatives of Eq. 7 reach over both processes."""
    one, two = (
        pd.read_csv(folder / "metrics" / "curves" / f"{name}.csv") for folder in (alone, together)
    )
    pd.testing.assert_frame_equal(one, two, rtol=1e-5, atol=1e-6)
    first, second = (
        load_file(folder / "models" / name / "model.safetensors") for folder in (alone, together)
    )
    assert first.keys() == second.keys()
    for key in (
        key for key in first if "running_" in key
    ):  # what batch norm saw, and the mean displacement
        torch.testing.assert_close(second[key], first[key], rtol=1e-3, atol=1e-5)


def test_a_stage_starts_its_processes_itself(alone: Path, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(alone, folder)
    (folder / FILES[1]).unlink()
    write_params({**SMALL, "runtime": {**SMALL["runtime"], "processes": 2}}, folder=folder)
    command = [sys.executable, "-m", "stages.score_prms"]
    env = {
        **os.environ,
        **LOOPBACK,
        "TRIS_SCRATCH": str(folder / "scratch"),
        "PYTHONPATH": str(ROOT),
    }
    done = subprocess.run(
        command, cwd=folder, env=env, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    assert (folder / FILES[1]).read_bytes() == (alone / FILES[1]).read_bytes()
    assert done.stdout.count("score_prms: ") == 1
    (folder / "models" / "clip.json").unlink()
    done = subprocess.run(
        command, cwd=folder, env=env, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 1
