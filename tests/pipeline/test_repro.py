"""The whole pipeline under DVC on tiny data: it runs, resumes, and reruns only what changed."""

import json
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import psutil
import pytest

from tests.attack import bits
from tests.support.project import Project, ran

TRAININGS = {"train_step1", "train_irn", "train_step2"}
pytestmark = [pytest.mark.timeout(1800), pytest.mark.usefixtures("clean")]


def table(project: Project, name: str) -> pd.DataFrame:
    return pd.read_parquet(project.folder / f"data/{name}.parquet")


@pytest.mark.parametrize("name", ["responses", "prms", "predictions"])
def test_every_expression_has_a_row(name: str, project: Project) -> None:
    everything = table(project, "index/expressions")["expression_id"]
    assert sorted(table(project, name)["expression_id"]) == sorted(everything)


def test_prms_selects_one_expression_per_ref(project: Project) -> None:
    assert table(project, "prms").groupby("ref_id")["selected"].sum().eq(1).all()


def test_every_training_ref_has_a_pseudo_label(project: Project) -> None:
    train = table(project, "index/refs").query("split == 'train'")["ref_id"]
    assert sorted(table(project, "pseudo_labels")["ref_id"]) == sorted(train)


@pytest.mark.parametrize("step", ["step1", "step2"])
def test_metrics_are_those_of_the_records(step: str, project: Project) -> None:
    metrics = json.loads((project.folder / f"metrics/{step}.json").read_text())
    assert list(metrics) == ["train", "val", "test"]
    assert all(0 <= value <= 1 for split in metrics.values() for value in split.values())
    val = table(project, f"evaluation/{step}/records").query("split == 'val'")
    miou = (val["intersection"] / val["union"].clip(lower=1)).mean()
    assert metrics["val"]["mIoU"] == pytest.approx(miou, abs=1e-4)


def test_every_split_has_a_sheet(project: Project) -> None:
    sheets = {path.name for path in (project.folder / "metrics/sheets").iterdir()}
    assert sheets == {"train.png", "val.png", "test.png"}


def test_finished_trainings_leave_no_checkpoints(project: Project) -> None:
    assert not list((project.scratch / "training").glob("*/checkpoint.pt"))


def test_a_second_run_has_nothing_to_do(project: Project) -> None:
    assert project.repro() == set()
    assert "up to date" in project.run("dvc", "status")


@pytest.mark.parametrize(
    ("parameter", "value", "reruns"),
    [
        ("runtime.workers", 1, set()),
        ("runtime.checkpoint_seconds", 5.0, set()),
        ("index.mask_overlap", "union", {"index"}),
        ("evaluate_step1.threshold", 0.3, {"evaluate_step1", "evaluate_prms"}),
        ("predict_step2.threshold", 0.5, {"predict_step2", "evaluate_step2", "draw_sheets"}),
        ("evaluate_step2.min_box_fraction", 0.05, {"evaluate_step2", "draw_sheets"}),
    ],
)
def test_parameters_of_speed_and_evaluation_rerun_no_training(
    project: Project, parameter: str, value: object, reruns: set[str]
) -> None:
    project.set(parameter, value)
    again = project.repro()
    assert again == reruns
    assert not again & TRAININGS


def test_moved_data_rerun_only_the_index(project: Project, tmp_path: Path) -> None:
    shutil.copytree(project.folder / "data/shapes", tmp_path / "elsewhere")
    project.set("dataset.root", str(tmp_path / "elsewhere"))
    assert project.repro() == {"index"}
    assert "train_step1" not in project.run("dvc", "status")


def test_another_scorer_mask_reruns_prms_onwards(project: Project) -> None:
    project.set("score_prms.mask", "sigmoid")
    planned = project.run("dvc", "status")
    assert "score_prms" in planned
    assert "train_step1" not in planned
    assert "dump_responses" not in planned


def wait_for_queue(project: Project, seconds: float = 120) -> None:
    """Wait until a queued experiment has succeeded, at most `seconds`."""
    deadline = time.monotonic() + seconds
    while "Success" not in (status := project.run("dvc", "queue", "status")):
        assert "Failed" not in status, project.run("dvc", "queue", "logs", "lower")
        assert time.monotonic() < deadline, status
        time.sleep(1)


def test_experiments_leave_the_workspace_unchanged(project: Project) -> None:
    experiment, fraction = ["dvc", "exp", "run"], "evaluate_step2.min_box_fraction"
    out = project.run(*experiment, "--temp", "-n", "higher", "-S", f"{fraction}=0.3")
    assert ran(out) == {"evaluate_step2", "draw_sheets"}
    project.run(*experiment, "--queue", "-n", "lower", "-S", f"{fraction}=0.2")
    project.run("dvc", "queue", "start")
    wait_for_queue(project)
    shown = project.run("dvc", "exp", "show", "--csv")
    assert "higher" in shown
    assert "lower" in shown
    assert project.repro() == set()


def test_dvc_shows_the_metrics_of_every_stage(project: Project) -> None:
    shown = project.run("dvc", "metrics", "show", "--md")
    for name in ("step1", "step2", "prms", "pseudo_labels"):
        assert f"metrics/{name}.json" in shown.replace("\\", "/")
    assert "val.PointM" in shown


@pytest.fixture
def other(project: Project) -> Iterator[dict[str, float]]:
    """A branch `other` with another Step-1 threshold, checked out; its val metrics in full."""
    project.run("git", "checkout", "-qb", "other")
    project.set("evaluate_step1.threshold", 0.5)
    project.repro()
    project.commit("another threshold")
    full = json.loads((project.folder / "data/evaluation/step1/metrics.json").read_text())
    yield full["metrics"]["val"]
    project.run("git", "checkout", "-qf", "main")
    project.run("git", "branch", "-qD", "other")


@pytest.mark.usefixtures("other")
def test_dvc_compares_the_metrics_of_branches(project: Project) -> None:
    diff = project.run("dvc", "metrics", "diff", "main", "other", "--md")
    assert all(words in diff for words in ("metrics/step1.json", "val.mIoU", "Change"))
    assert max(len(line) for line in diff.splitlines()) < 120


def test_tris_compares_branches(project: Project, other: dict[str, float]) -> None:
    command = ["tris", "compare", "half=other", "any=main"]
    said = project.run(*command, "--table", "3", "--out", "report.html")
    assert "<table>" in (project.folder / "report.html").read_text()
    lines = [line for line in said.splitlines() if line.startswith("|")]
    head, _, *rows = ([cell.strip() for cell in line.split("|")] for line in lines)
    half, any_ = (dict(zip(head, row, strict=True)) for row in rows)
    assert (half["run"], half["mIoU"]) == ("half", f"{100 * other['mIoU']:.1f}")
    assert "images only" in any_["mIoU - half"]


def test_tris_compare_gives_the_spread_over_runs(project: Project, other: dict[str, float]) -> None:
    said = project.run("tris", "compare", "half=other,other", "--table", "1")
    assert f"{100 * other['mIoU']:.2f} ± 0.00" in said
    assert "oIoU" in said


@pytest.mark.usefixtures("other")
def test_tris_compare_shows_prms(project: Project) -> None:
    prms = json.loads((project.folder / "metrics/prms.json").read_text())["val"]
    said = project.run("tris", "compare", "half=other", "--table", "4")
    assert all(f"{100 * prms[column]:.2f}" in said for column in ("without", "with"))


@pytest.mark.usefixtures("other")
def test_tris_page_names_commits_changes_and_losses(project: Project) -> None:
    command = ["tris", "page", "any=main", "other", "--step", "1", "--out", "page.html"]
    assert "page.html: " in project.run(*command)
    page = (project.folder / "page.html").read_text()
    assert all(words in page for words in ("another threshold", "first run"))
    assert all(words in page for words in ("evaluate_step1.threshold", "Expressions of each kind"))
    assert "Lost: " in page


def test_a_colleague_pulls_and_reruns_nothing(project: Project, tmp_path: Path) -> None:
    store, clone = tmp_path / "store", tmp_path / "clone"
    project.run("dvc", "remote", "add", "--local", "-d", "store", str(store))
    project.run("dvc", "push", "-q")
    project.run("dvc", "remote", "remove", "--local", "store")
    subprocess.run(["git", "clone", "-q", project.folder, clone], check=True)
    env = {**project.env, "TRIS_SCRATCH": str(tmp_path / "scratch")}

    def dvc(*arguments: str) -> str:
        command = ["dvc", *arguments]
        return subprocess.check_output(command, cwd=clone, env=env, text=True)

    dvc("remote", "add", "--local", "-d", "store", str(store))
    dvc("pull", "-q")
    assert ran(dvc("repro")) == set()
    model = "models/step2/model.safetensors"
    assert (clone / model).read_bytes() == (project.folder / model).read_bytes()


def test_plots_show_curves_and_pictures(project: Project) -> None:
    project.run("dvc", "plots", "show", "-o", "page")
    page = (project.folder / "page" / "index.html").read_text()
    assert all(f"{name} loss" in page for name in ("Step-1", "Boundary network", "Step-2"))
    assert "Step-1 mIoU against threshold" in page
    assert "val.png" in page
    project.run("rm", "-r", "page")


@pytest.mark.parametrize(
    ("victim", "how", "seed"), [("dvc", signal.SIGKILL, 7), ("stage", signal.SIGTERM, 8)]
)
def test_a_killed_training_resumes_to_the_same_bytes(
    project: Project, victim: str, how: signal.Signals, seed: int
) -> None:
    project.set("train_step1.seed", seed)  # a new value, so the run-cache has no result
    checkpoints = project.scratch / "training"
    model = project.folder / "models/step1/model.safetensors"
    process = subprocess.Popen(
        ["dvc", "repro", "train_step1"], cwd=project.folder, env=project.env,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    while not list(checkpoints.glob("*/checkpoint.pt")):
        assert process.poll() is None, "the training ended before it could be killed"
        time.sleep(0.01)
    stage = psutil.Process(process.pid).children(recursive=True)
    assert stage
    (psutil.Process(process.pid) if victim == "dvc" else stage[-1]).send_signal(how)
    process.wait()
    _, alive = psutil.wait_procs(stage, timeout=20)
    assert not alive, "a stage ends with the process that started it"
    assert not model.parent.exists()
    assert "continuing from step" in project.run("dvc", "repro", "train_step1")
    resumed = model.read_bytes()
    project.run("dvc", "repro", "-f", "-s", "train_step1")
    assert model.read_bytes() == resumed
    assert not list(checkpoints.glob("*/checkpoint.pt"))


def test_readers_find_a_flipped_bit_in_any_artifact(project: Project, tmp_path: Path) -> None:
    for name in ("data", "models"):
        shutil.copytree(project.folder / name, tmp_path / name)
    results = bits.attack(tmp_path, times=5, seed=0)
    data = {"data/truth.parquet", "data/responses.parquet"}
    assert data | {"models/irn/config.json", "checkpoint.pt"} <= results.keys()
    assert all(tried == found for tried, found in results.values()), results
