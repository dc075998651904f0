"""`python -m benchmarks gpu` on a CPU, small."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

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
    for name, rows in receipt.items():
        assert "failed" not in str(rows), f"{name}: {rows}"
    assert "passed" in receipt["tests"][0]["result"]
    assert [row["training"] for row in receipt["resume"]] == ["step1", "step2", "irn"]
    assert len(receipt["trainings"]) == 7
    assert {row["precision"] for row in receipt["projection"]} == {"fp32", "tf32", "bf16"}
    assert all(row["RefCOCOg h"] > 0 for row in receipt["projection"])
