"""Two processes give the results of one: equal files from per-image stages, equal losses."""

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
SHARED = ("dump_responses", "score_prms", "crf_seeds", "refine", "predict_step2")
TRAINED = ("train_step1", "train_irn", "train_step2")
ORDER = (
    "train_step1", "dump_responses", "score_prms", "crf_seeds", "train_irn", "refine",
    "train_step2", "predict_step2",
)  # fmt: skip
FILES = tuple(
    f"data/{name}.parquet"
    for name in ("responses", "prms", "crf_seeds", "pseudo_labels", "predictions")
)
# independent of what this machine's name resolves to
LOOPBACK = {"PET_LOCAL_ADDR": "127.0.0.1", "GLOO_SOCKET_IFNAME": "lo"}
# Low learning rates: gradients differ by rounding, so losses differ after the first update. AdamW's
# first update has the size of the learning rate for any nonzero gradient, however small.
ALONE = {"share_images": False}  # batch norm counts an image that two processes share twice
SMALL: dict[str, dict[str, Any]] = {
    "make_shapes": {"train": 8, "val": 3, "test": 24},
    "pack_images": {"side": 64},
    "train_step1": {"steps": 3, "batch": 8, "hidden": 16, "lr": 5e-5, **ALONE},
    "crf_seeds": {"iterations": 2},
    "train_irn": {"epochs": 1, "batch": 4, "crop": 64, "radius": 4, "lr": 0.01},
    "refine": {"radius": 3, "exp_times": 3},
    "train_step2": {"steps": 3, "batch": 4, "width": 8, "lr": 5e-5, **ALONE},
    "runtime": {"device": "cuda" if os.environ.get("TRIS_GPU") else "cpu", "threads": 1},
}


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which one process ran all stages."""
    folder = tmp_path_factory.mktemp("alone")
    with pytest.MonkeyPatch.context() as patch:
        enter(patch, folder)
        write_params(SMALL)
        for name in (*PREPARED, *ORDER):
            run(import_module(f"stages.{name}"))
    return folder


@pytest.fixture(scope="module")
def together(alone: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of that folder in which two processes repeated every stage on the same inputs.

    They recompute activations, which changes no number either.
    """
    folder = tmp_path_factory.mktemp("together") / "copy"
    shutil.copytree(alone, folder)
    write_params({**SMALL, "runtime": {**SMALL["runtime"], "recompute": True}}, folder=folder)
    for name in FILES:
        (folder / name).unlink()
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    stages = ["-m", "tests.pipeline.ranks", str(folder), *SHARED, *TRAINED]
    subprocess.run([*torchrun, *stages], env=env(folder), check=True, timeout=600)
    return folder


def env(folder: Path) -> dict[str, str]:
    """Environment variables for stages in `folder`."""
    paths = {"TRIS_SCRATCH": str(folder / "scratch"), "PYTHONPATH": str(ROOT)}
    return {**os.environ, **LOOPBACK, **paths}


@pytest.mark.parametrize("file", FILES)
def test_two_processes_write_the_same_bytes(file: str, alone: Path, together: Path) -> None:
    assert (together / file).read_bytes() == (alone / file).read_bytes()


@pytest.mark.parametrize("name", ["step1", "irn", "step2"])
def test_two_processes_see_the_same_losses(name: str, alone: Path, together: Path) -> None:
    """Batch norm and, in Step-1, the negatives of Eq. 7 use the batch of both processes."""
    curve, model = f"metrics/curves/{name}.csv", f"models/{name}/model.safetensors"
    one, two = (pd.read_csv(folder / curve) for folder in (alone, together))
    pd.testing.assert_frame_equal(one, two, rtol=5e-5, atol=1e-6)
    first, second = (load_file(folder / model) for folder in (alone, together))
    assert first.keys() == second.keys()
    # statistics of batch norm, and IRN's mean displacement
    for key in (key for key in first if "running_" in key):
        torch.testing.assert_close(second[key], first[key], rtol=1e-3, atol=1e-5)


def crf_seeds(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "stages.crf_seeds"]
    return subprocess.run(
        command, cwd=folder, env=env(folder), capture_output=True, text=True, timeout=300
    )


def test_a_stage_starts_its_processes_itself(alone: Path, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(alone, folder)
    (folder / FILES[2]).unlink()
    write_params({**SMALL, "runtime": {**SMALL["runtime"], "processes": 2}}, folder=folder)
    done = crf_seeds(folder)
    assert done.returncode == 0, done.stderr
    assert (folder / FILES[2]).read_bytes() == (alone / FILES[2]).read_bytes()
    assert done.stdout.count("crf_seeds: ") == 1
    (folder / FILES[1]).unlink()  # an input
    assert crf_seeds(folder).returncode == 1
