"""Two branches that both ran are merged: results of either side are restored, not computed again."""

import pytest

from tests.support.closure import ROOT
from tests.support.project import Project, ran

pytestmark = [pytest.mark.timeout(1800), pytest.mark.usefixtures("clean")]


def branch(project: Project, name: str, parameter: str, value: float) -> str:
    """Run with a changed parameter on a branch of its own; its dvc.lock."""
    project.run("git", "checkout", "-qb", name, "main")
    project.run("dvc", "checkout", "-q", "-f")
    project.set(parameter, value)
    assert project.repro()
    project.commit(name)
    return (project.folder / "dvc.lock").read_text()


def test_merging_two_runs_restores_both_and_runs_only_what_neither_has(project: Project) -> None:
    branch(project, "walk", "refine.exp_times", 2)
    branch(project, "metric", "evaluate_step1.threshold", 0.4)
    merged = project.run("git", "merge", "walk", check=False)
    assert "CONFLICT" in merged
    assert "dvc.lock" in merged
    said = project.run("bash", str(ROOT / "docs" / "merge_results.sh"))
    assert ran(said) == set()
    project.run("git", "commit", "-qm", "merged")
    assert project.repro() == set()
    assert "up to date" in project.run("dvc", "status")
    assert "<<<<" not in (project.folder / "dvc.lock").read_text()


def test_a_conflict_elsewhere_is_left_to_people(project: Project) -> None:
    branch(project, "fewer", "refine.exp_times", 2)
    branch(project, "more", "refine.exp_times", 1)
    project.run("git", "merge", "fewer", check=False)
    before = (project.folder / "params.yaml").read_text()
    said = project.run("bash", str(ROOT / "docs" / "merge_results.sh"), check=False)
    assert "params.yaml" in said
    assert "resolve these files first" in said
    assert (project.folder / "params.yaml").read_text() == before
    project.run("git", "merge", "--abort")
