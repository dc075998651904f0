"""`python -m benchmarks gpu` on a CPU, small."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks._inputs import Pictures
from benchmarks._measure import Row
from benchmarks.gpu import projection
from tests.support.closure import ROOT


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_command_runs_on_a_cpu(tmp_path: Path) -> None:
    out = tmp_path / "gpu.json"
    command = [sys.executable, "-m", "benchmarks", "gpu", "--device", "cpu", "--tiny"]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}  # the other tests have the other cores
    done = subprocess.run(
        [*command, "--out", str(out)], cwd=ROOT, env=env, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    receipt = json.loads(out.read_text())
    assert "passed" in receipt["tests"][0]["result"]
    assert [row["training"] for row in receipt["resume"]] == ["step1", "step2", "irn"]
    assert len(receipt["trainings"]) == 7
    assert all(row["images/s"] > 0 for row in receipt["trainings"])
    assert all(row["units/s"] > 0 for row in receipt["stages"])
    assert "projection" not in receipt, "small networks say nothing about the paper's"


def test_random_images_can_be_pinned() -> None:
    """A view that repeats one picture cannot."""
    assert Pictures(8)[np.arange(3)].is_contiguous()


def test_the_projection_counts_what_a_run_does() -> None:
    trained = [
        {"training": name, "precision": precision, "images/s": 1000.0}
        for name in ("step1", "step2", "irn")
        for precision in ("fp32", "tf32", "bf16")
    ]
    names = ("responses", "PRMS", "predictions", "exact CRF", "boundaries", "instances", "walk")
    staged: list[Row] = [{"stage": name, "units/s": 100.0} for name in names]
    [fp32, *_] = projection(trained, staged)
    step = 15 * (42.226 + 48.96)
    rest = 3 * 950.1 + 4 * 218.99 + 3 * 42.226
    assert fp32["step1 h"] * 3600 == fp32["step2 h"] * 3600 == pytest.approx(step)
    assert fp32["RefCOCOg h"] * 3600 == pytest.approx(2 * step + rest)
    assert fp32["150 runs of Step-1 h"] * 3600 == pytest.approx(150 * (step + 950.1))

    trained[0] = {"training": "step1", "precision": "fp32", "failed": "out of memory"}
    assert [row["precision"] for row in projection(trained, staged)] == ["tf32", "bf16"]
    staged[0] = {"stage": "responses", "failed": "out of memory"}
    assert projection(trained, staged) == [{"precision": "none: a measurement failed"}]
