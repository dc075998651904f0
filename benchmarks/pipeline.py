"""The default run in a clone with an empty cache: time and memory of every stage."""

import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks._measure import ROOT, show

CLOSING = re.compile(r"^(\w+): .*\(([\d.]+) s, ([\d.]+) GB at most\)$", re.MULTILINE)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        project = Path(folder) / "project"
        subprocess.run(["git", "clone", "-q", ROOT, project], check=True)
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        env = {**os.environ, "TRIS_SCRATCH": f"{folder}/scratch", "PATH": path}
        started = time.perf_counter()
        done = subprocess.run(
            ["dvc", "repro"], cwd=project, env=env, check=True, stdout=subprocess.PIPE, text=True
        )
        whole = time.perf_counter() - started
    stages = [
        {"name": name, "seconds": float(s), "gigabytes": float(gb)}
        for name, s, gb in CLOSING.findall(done.stdout)
    ]
    most = max(stage["gigabytes"] for stage in stages)
    show([*stages, {"name": "dvc repro", "seconds": whole, "gigabytes": most}])
