"""docs/results.md and its queue script name only parameters and stages that exist."""

import os
import re
import shlex
import subprocess
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from docs.measured import TABLES
from tests.support.closure import ROOT
from tris_core.reports.experiments import group_of

PARAMS = YAML(typ="safe").load(ROOT / "params.yaml")
STAGES = YAML(typ="safe").load(ROOT / "dvc.yaml")["stages"]
NAMES = {
    "1": ["refcocog-umd", "refcocog-google", "refcoco", "refcoco+", "referit", "referit-imagenet"],
    "3": ["full", "no-t2v", "no-v2t", "no-pos", "no-neg", "cls", "cls-t2v", "cls-both"],
    "4": ["prms"],
    "5": [*(f"n-{n}" for n in (0, 1, 5, 11, 23, 47, 59)), *(f"k-{k}" for k in (3, 6, 12))],
}


def queued(tables: list[str], folder: Path) -> list[list[str]]:
    """The arguments of every call of `uv` that the script makes."""
    calls = folder / "calls"
    (folder / "uv").write_text(
        f'#!/bin/sh\nfor word; do printf "%s\\n" "$word"; done >> {calls}\necho ---- >> {calls}\n'
    )
    (folder / "uv").chmod(0o755)
    env = {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}"}
    subprocess.run(["bash", ROOT / "docs" / "queue_tables.sh", *tables], env=env, check=True)
    return [call.splitlines() for call in calls.read_text().split("----\n")[:-1]]


@pytest.mark.parametrize("table", NAMES)
def test_a_table_is_queued_completely(table: str, tmp_path: Path) -> None:
    calls = queued([table], tmp_path)
    assert [call[call.index("-n") + 1] for call in calls] == NAMES[table]
    for call in calls:
        assert call[:5] == ["run", "dvc", "exp", "run", "--queue"]
        assert "train_step1.seed=0,1,2,3,4,5" in call


def test_several_tables_can_be_queued_together(tmp_path: Path) -> None:
    assert len(queued(list(NAMES), tmp_path)) == sum(map(len, NAMES.values()))


def test_every_row_of_the_measured_tables_is_queued_six_times(tmp_path: Path) -> None:
    headings = ["3", "4", "5", "default", "Controls", "Refiners", "Baselines", "Step-2"]
    runs: Counter[str] = Counter()
    for call in (call for call in queued(headings, tmp_path) if "-n" in call):
        name = call[call.index("-n") + 1]
        many = "train_step1.seed=0,1,2,3,4,5" in call
        runs[name if many else group_of(name)] += 6 if many else 1
    groups = {group for table in TABLES.values() for group, _ in table.rows.values()}
    assert runs == dict.fromkeys(groups, 6)


def test_the_script_asks_for_a_table() -> None:
    command = ["bash", ROOT / "docs" / "queue_tables.sh"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode != 0
    assert "which tables" in done.stderr


def test_parameters_and_stages_exist(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "results.md").read_text()
    lines = re.findall(r"^uv run (?:dvc exp run .*)$", text, re.MULTILINE)
    single = [shlex.split(line) for line in lines]
    for call in [*queued(list(NAMES), tmp_path), *(call[1:] for call in single)]:
        assignments = [word for before, word in pairwise(call) if before == "-S"]
        for path in (assignment.split("=")[0] for assignment in assignments):
            at = PARAMS
            for key in path.split("."):
                assert key in at, path
                at = at[key]
        if call[-2] not in ("-S", "-n") and call[1:4] == ["dvc", "exp", "run"]:
            assert call[-1] in STAGES, call
