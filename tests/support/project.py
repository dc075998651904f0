"""A copy of the project in its own folder, with parameters that finish in seconds."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.support.closure import ROOT
from tests.support.in_process import set_param

COPIED = (
    "stages",
    "tris_core",
    "presets",
    "dvc.yaml",
    ".dvcignore",
    ".gitignore",
    ".dvc/config",
    ".dvc/.gitignore",
)
TINY: dict[str, dict[str, Any]] = {
    "make_shapes": {"train": 8, "val": 3, "test": 2},
    "pack_images": {"side": 96},
    "train_step1": {"steps": 30, "batch": 4, "hidden": 16},
    "crf_seeds": {"iterations": 2},
    "train_irn": {"epochs": 1, "batch": 4, "crop": 96, "radius": 4},
    "refine": {"radius": 3, "exp_times": 3},
    "train_step2": {"steps": 10, "batch": 4, "width": 8},
    "runtime": {"checkpoint_seconds": 0.0, "device": "cpu", "threads": 1},
}


class Project:
    """The copy, a git repository. Its scratch folder is beside it."""

    def __init__(self, folder: Path, source: Path = ROOT) -> None:
        """Copy the code of `source`, the repository or another project, to `folder`."""
        self.folder, self.scratch = folder, folder.parent / f"{folder.name}-scratch"
        self.extra_env: dict[str, str] = {}
        for name in COPIED:
            original, target = source / name, folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            if original.is_dir():
                shutil.copytree(original, target, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy2(original, target)
        shutil.copy2(source / "presets" / "shapes.yaml", folder / "params.yaml")
        for section, values in TINY.items():
            for key, value in values.items():
                self.set(f"{section}.{key}", value)
        self.run("git", "init", "-q", "-b", "main")
        self.commit("start")

    @property
    def env(self) -> dict[str, str]:
        bin_folder = str(Path(sys.executable).parent)
        roles, fields = ("AUTHOR", "COMMITTER"), ("NAME", "EMAIL")
        names = {f"GIT_{role}_{field}": "tris" for role in roles for field in fields}
        own = {
            "PATH": f"{bin_folder}:{os.environ['PATH']}",
            "TRIS_SCRATCH": str(self.scratch),
            "SHELL": "/bin/sh",
        }
        return {**os.environ, **names, **own, **self.extra_env}

    def run(self, *command: str, check: bool = True) -> str:
        done = subprocess.run(
            command, cwd=self.folder, env=self.env, capture_output=True, text=True, check=False
        )
        if check and done.returncode:
            status = f"{' '.join(command)} exited with {done.returncode}"
            raise AssertionError(f"{status}\n{done.stdout}\n{done.stderr}")
        return done.stdout + done.stderr

    def repro(self, *arguments: str) -> set[str]:
        """Run `dvc repro` and return the stages that ran."""
        return ran(self.run("dvc", "repro", *arguments))

    def set(self, parameter: str, value: Any) -> None:
        set_param(parameter, value, folder=self.folder)

    def commit(self, message: str) -> None:
        self.run("git", "add", "-A")
        self.run("git", "commit", "-qm", message, "--allow-empty")


def ran(output: str) -> set[str]:
    """Names of the stages that a DVC command ran. Stages restored from the cache do not count."""
    lines = output.splitlines()
    return {line.split("'")[1] for line in lines if line.startswith("Running stage '")}
