"""The worked examples of CONTRIBUTING.md: applied to a copy of the project, they do what they say.

A section is applied fence by fence: `python PATH` is a new file, `diff` is applied, `bash` is run; the files of its
`uv run pytest` are run together at the end.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.closure import ROOT

COPIED = ("stages", "tris_core", "presets", "tests", "dvc.yaml", "params.yaml", "pyproject.toml")
LONGEST = 25  # lines of code that an example may add, its test apart
EXAMPLES = (
    (ROOT / "CONTRIBUTING.md").read_text().split("\n## Worked examples\n")[1].split("\n### ")[1:]
)
FENCE = re.compile(r"^```(python|diff|bash) ?(\S*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def fences(example: str) -> list[tuple[str, str, str]]:
    """Kind, path and content of every fence."""
    return FENCE.findall(example)


def check(*command: str, folder: Path, given: str | None = None) -> None:
    env = {**os.environ, "PYTHONPATH": str(folder)}
    done = subprocess.run(
        command, cwd=folder, env=env, input=given, capture_output=True, text=True, check=False
    )
    assert not done.returncode, f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"


def apply(example: str, folder: Path) -> list[str]:
    """Do what an example says in the copy. Returns the files that it runs with pytest."""
    tests: list[str] = []
    for kind, path, content in fences(example):
        if kind == "python":
            assert not (folder / path).exists(), f"{path} is there already"
            (folder / path).write_text(content)
        elif kind == "diff":
            check("git", "apply", "-", folder=folder, given=content)
        else:
            for line in content.splitlines():
                if line.startswith("uv run pytest "):
                    tests += line.split()[3:]
                else:
                    check("bash", "-c", line, folder=folder)
    return tests


def test_the_examples_work(tmp_path: Path) -> None:
    for name in COPIED:
        source, target = ROOT / name, tmp_path / name
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(source, target)
    applied = [apply(example, tmp_path) for example in EXAMPLES]
    assert all(applied), "an example runs its test"
    files = [file for tests in applied for file in tests]
    kept = (
        "deps_are_the_modules_the_stage_reaches",
        "params_are_the_shapes_preset",
        "every_preset_is_complete_and_valid",
    )
    contract = [f"tests/pipeline/test_contract.py::test_{name}" for name in kept]
    check(sys.executable, "-m", "ruff", "check", *files, "tris_core", folder=tmp_path)
    check(
        sys.executable,
        "-m",
        "pytest",
        "-x",
        "-q",
        "-p",
        "no:cacheprovider",
        *files,
        *contract,
        folder=tmp_path,
    )


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.splitlines()[0])
def test_an_example_is_short(example: str) -> None:
    added = 0
    for kind, path, content in fences(example):
        lines = [line for line in content.splitlines() if line.strip()]
        if kind == "diff":
            added += sum(line.startswith("+") and not line.startswith("+++") for line in lines)
        elif kind == "python" and not path.startswith("tests/"):
            added += len(lines)
    assert 0 < added <= LONGEST
