"""The examples of CONTRIBUTING.md: applied to a copy of the project, they do what they say."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.closure import ROOT

COPIED = ("stages", "tris_core", "presets", "tests", "dvc.yaml", "params.yaml", "pyproject.toml")
LONGEST = 35  # lines that an example may add, its test not counted
EXAMPLES = sorted((ROOT / "docs" / "examples").glob("*.patch"))


def added(example: Path) -> dict[str, list[str]]:
    """Non-blank lines that a patch adds, by file."""
    lines: dict[str, list[str]] = {}
    for line in example.read_text().splitlines():
        if line.startswith("+++ "):
            into = lines.setdefault(line.removeprefix("+++ b/"), [])
        elif line.startswith("+") and line[1:].strip():
            into.append(line[1:])
    return lines


def own_tests(example: Path) -> list[str]:
    return [path for path in added(example) if path.startswith("tests/")]


def check(*command: str, folder: Path) -> None:
    env = {**os.environ, "PYTHONPATH": str(folder)}
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)
    assert not done.returncode, f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"


def test_the_page_links_every_example() -> None:
    page = (ROOT / "CONTRIBUTING.md").read_text()
    assert EXAMPLES
    assert all(f"](docs/examples/{example.name})" in page for example in EXAMPLES)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.stem)
def test_an_example_says_how_to_apply_and_test_it(example: Path) -> None:
    explained = example.read_text().split("diff --git")[0]
    assert f"git apply docs/examples/{example.name}" in explained
    assert f"uv run pytest {' '.join(own_tests(example))}" in explained


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.stem)
def test_an_example_is_short(example: Path) -> None:
    counts = (len(lines) for path, lines in added(example).items() if path[:6] != "tests/")
    assert 0 < sum(counts) <= LONGEST


def test_the_examples_work(tmp_path: Path) -> None:
    for name in COPIED:
        source, target = ROOT / name, tmp_path / name
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(source, target)
    for example in EXAMPLES:
        check("git", "apply", str(example), folder=tmp_path)
    tests = [path for example in EXAMPLES for path in own_tests(example)]
    python = [path for example in EXAMPLES for path in added(example) if path.endswith(".py")]
    check(sys.executable, "-m", "ruff", "check", *python, folder=tmp_path)
    contract = ["tests/pipeline/test_contract.py", "-k", "deps or preset or not contract"]
    pytest_quietly = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider"]
    check(*pytest_quietly, *tests, *contract, folder=tmp_path)
