"""After merging two branches that both ran, their results are restored, not recomputed."""

import pytest

from tests.support.closure import ROOT
from tests.support.project import Project, ran

pytestmark = [pytest.mark.timeout(1800), pytest.mark.usefixtures("clean")]


def branch(project: Project, name: str, parameter: str, value: float) -> set[str]:
    """Run with a changed parameter on a new branch. Returns the stages that ran."""
    project.run("git", "checkout", "-qb", name, "main")
    project.run("dvc", "checkout", "-q", "-f")
    project.set(parameter, value)
    stages = project.repro()
    project.commit(name)
    return stages


def settle(project: Project) -> set[str]:
    """Run the script during a merge, or after one without conflicts; the stages that ran."""
    said = project.run("bash", str(ROOT / "docs" / "merge_results.sh"))
    project.run("git", "commit", "-qm", "merged", "--allow-empty")
    assert project.repro() == set()
    assert "up to date" in project.run("dvc", "status")
    assert "<<<<" not in (project.folder / "dvc.lock").read_text()
    return ran(said)


def test_a_walk_threshold_reruns_refinement_onwards_and_merges_without_a_run(
    project: Project,
) -> None:
    assert branch(project, "walk", "refine.threshold", 0.4) == {
        "refine", "evaluate_labels",
        "train_step2", "predict_step2", "evaluate_step2", "draw_sheets",
    }  # fmt: skip
    branch(project, "metric", "evaluate_step1.threshold", 0.4)
    project.run("git", "merge", "-q", "--no-edit", "walk")
    assert settle(project) == set()
    project.set("refine.threshold", 0.5)
    assert project.repro() == set(), "the first value is in the run-cache"


def test_a_merge_with_conflicts_runs_only_what_neither_side_has(project: Project) -> None:
    branch(project, "higher", "predict_step2.threshold", 0.7)
    branch(project, "large", "evaluate_step2.min_box_fraction", 0.1)
    merged = project.run("git", "merge", "higher", check=False)
    assert "CONFLICT" in merged
    assert "dvc.lock" in merged
    again = settle(project)
    assert again == {"evaluate_step2", "draw_sheets"}, "the predictions are those of one side"


def test_other_conflicts_are_left_to_the_user(project: Project) -> None:
    branch(project, "less", "evaluate_step2.min_box_fraction", 0.1)
    branch(project, "more", "evaluate_step2.min_box_fraction", 0.2)
    project.run("git", "merge", "less", check=False)
    before = (project.folder / "params.yaml").read_text()
    script = str(ROOT / "docs" / "merge_results.sh")
    assert "params.yaml has marks of a conflict" in project.run("bash", script, check=False)
    assert (project.folder / "params.yaml").read_text() == before
    project.run("git", "checkout", "--ours", "params.yaml")
    said = project.run("bash", script, check=False)
    assert "params.yaml\nresolve these files first" in said, "no marks left, but not yet added"
    project.run("git", "merge", "--abort")
