"""The whole pipeline under DVC, on tiny data: it runs, repeats, resumes, and reruns exactly what a change invalidates."""

import json
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pandas as pd
import psutil
import pytest

from tests.attack import bits
from tests.support.project import Project, ran

TRAININGS = {"train_step1", "train_irn", "train_step2"}
pytestmark = [pytest.mark.timeout(1800), pytest.mark.usefixtures("clean")]


def test_first_run_made_everything(project: Project) -> None:
    index = {
        name: pd.read_parquet(project.folder / f"data/index/{name}.parquet")
        for name in ("refs", "expressions")
    }
    predictions = pd.read_parquet(project.folder / "data/predictions.parquet")
    responses = pd.read_parquet(project.folder / "data/responses.parquet")
    everything = set(index["expressions"]["expression_id"])
    assert set(predictions["expression_id"]) == set(responses["expression_id"]) == everything
    prms = pd.read_parquet(project.folder / "data/prms.parquet")
    assert prms.groupby("ref_id")["selected"].sum().eq(1).all()
    assert set(prms["expression_id"]) == everything
    labels = pd.read_parquet(project.folder / "data/pseudo_labels.parquet")
    train = index["refs"].query("split == 'train'")["ref_id"]
    assert sorted(labels["ref_id"]) == sorted(train)
    for name in ("step1", "step2"):
        metrics = json.loads((project.folder / f"metrics/{name}.json").read_text())
        assert list(metrics) == ["train", "val", "test"]
        assert all(0 <= value <= 1 for split in metrics.values() for value in split.values())
        records = pd.read_parquet(project.folder / f"data/evaluation/{name}/records.parquet")
        val = records[records["split"] == "val"]
        assert metrics["val"]["mIoU"] == pytest.approx(
            (val["intersection"] / val["union"].clip(lower=1)).mean(), abs=1e-4
        )
    sheets = {path.name for path in (project.folder / "metrics/sheets").iterdir()}
    assert sheets == {"train.png", "val.png", "test.png"}
    assert not list((project.scratch / "training").glob("*/checkpoint.pt")), (
        "resume state goes when a stage is done"
    )


def test_nothing_to_do_the_second_time(project: Project) -> None:
    assert project.repro() == set()
    assert "up to date" in project.run("dvc", "status")


def test_walk_threshold_reruns_refinement_and_what_follows_and_going_back_nothing(
    project: Project,
) -> None:
    project.set("refine.threshold", 0.4)
    assert project.repro() == {
        "refine", "evaluate_labels", "train_step2", "predict_step2", "evaluate_step2", "draw_sheets",
    }  # fmt: skip
    project.set("refine.threshold", 0.5)
    assert project.repro() == set()


@pytest.mark.parametrize(
    ("parameter", "value", "reruns"),
    [
        ("runtime.workers", 1, set()),
        ("runtime.checkpoint_seconds", 5.0, set()),
        ("index.mask_overlap", "union", {"index"}),
        ("evaluate_step1.threshold", 0.3, {"evaluate_step1", "evaluate_prms"}),
        ("predict_step2.threshold", 0.5, {"predict_step2", "evaluate_step2", "draw_sheets"}),
        ("evaluate_step2.min_box_fraction", 0.05, {"evaluate_step2"}),
    ],
)
def test_what_only_speed_truth_or_metrics_use_reruns_no_training(
    project: Project, parameter: str, value: object, reruns: set[str]
) -> None:
    project.set(parameter, value)
    again = project.repro()
    assert again == reruns
    assert not again & TRAININGS


def test_moved_data_are_indexed_again_and_nothing_else_runs(
    project: Project, tmp_path: Path
) -> None:
    shutil.copytree(project.folder / "data/shapes", tmp_path / "elsewhere")
    project.set("dataset.root", str(tmp_path / "elsewhere"))
    assert project.repro() == {"index"}
    assert "train_step1" not in project.run("dvc", "status")


def test_another_scorer_mask_reruns_from_prms_on(project: Project) -> None:
    project.set("score_prms.mask", "sigmoid")
    planned = project.run("dvc", "status")
    assert "score_prms" in planned
    assert "train_step1" not in planned
    assert "dump_responses" not in planned


def test_experiments_leave_the_workspace_alone(project: Project) -> None:
    out = project.run(
        "dvc", "exp", "run", "--temp", "-n", "higher", "-S", "predict_step2.threshold=1.5"
    )
    assert ran(out) == {"predict_step2", "evaluate_step2", "draw_sheets"}
    project.run("dvc", "exp", "run", "--queue", "-n", "lower", "-S", "predict_step2.threshold=-1.5")
    project.run("dvc", "queue", "start")
    deadline = time.monotonic() + 120
    while (
        "Success" not in (status := project.run("dvc", "queue", "status"))
        and time.monotonic() < deadline
    ):
        assert "Failed" not in status, project.run("dvc", "queue", "logs", "lower")
        time.sleep(1)
    shown = project.run("dvc", "exp", "show", "--csv")
    assert "higher" in shown
    assert "lower" in shown
    assert project.repro() == set()


def test_metrics_read_well_and_compare_between_branches(project: Project) -> None:
    table = project.run("dvc", "metrics", "show", "--md")
    for name in ("step1", "step2", "prms", "pseudo_labels"):
        assert f"metrics/{name}.json" in table.replace("\\", "/")
    assert "val.PointM" in table
    project.run("git", "checkout", "-qb", "other")
    project.set("evaluate_step1.threshold", 0.5)
    project.repro()
    project.commit("another threshold")
    diff = project.run("dvc", "metrics", "diff", "main", "other", "--md")
    assert "metrics/step1.json" in diff
    assert "val.mIoU" in diff
    assert "Change" in diff
    assert max(len(line) for line in diff.splitlines()) < 120
    check_report(project)


def check_report(project: Project) -> None:
    """`tris report` reads both branches from the cache, whatever is checked out."""
    full = json.loads((project.folder / "data/evaluation/step1/metrics.json").read_text())[
        "metrics"
    ]["val"]
    said = project.run(
        "tris", "report", "half=other", "any=main", "--table", "3", "--out", "report.html"
    )
    assert "<table>" in (project.folder / "report.html").read_text()
    head, _, *rows = said.splitlines()
    half, any_ = (dict(zip(head.split("|"), row.split("|"), strict=True)) for row in rows)
    shown = {key.strip(): value.strip() for key, value in half.items()}
    assert (shown["run"], shown["mIoU"]) == ("half", f"{100 * full['mIoU']:.1f}")
    assert "[" in next(value for key, value in any_.items() if key.strip() == "mIoU - half")
    table1 = project.run("tris", "report", "half=other,other", "--table", "1")
    assert f"{100 * full['mIoU']:.2f} ± 0.00" in table1
    assert "LAVT's oIoU" in table1
    written = project.run(
        "tris", "report", "any=main", "other", "--step", "1", "--html", "page.html"
    )
    assert "page.html: " in written
    page = (project.folder / "page.html").read_text()
    for words in (
        "another threshold",
        "first run",
        "evaluate_step1.threshold",
        "Expressions of each kind",
        "Lost: ",
    ):
        assert words in page
    prms = json.loads((project.folder / "metrics/prms.json").read_text())["val"]
    table4 = project.run("tris", "report", "half=other", "--table", "4")
    assert all(f"{100 * prms[column]:.2f}" in table4 for column in ("without", "with"))


def test_a_colleague_pulls_and_reruns_nothing(project: Project, tmp_path: Path) -> None:
    store, clone = tmp_path / "store", tmp_path / "clone"
    project.run("dvc", "remote", "add", "--local", "-d", "store", str(store))
    project.run("dvc", "push", "-q")
    project.run("dvc", "remote", "remove", "--local", "store")
    subprocess.run(["git", "clone", "-q", project.folder, clone], check=True)
    env = {**project.env, "TRIS_SCRATCH": str(tmp_path / "scratch")}

    def dvc(*arguments: str) -> str:
        done = subprocess.run(
            ["dvc", *arguments], cwd=clone, env=env, capture_output=True, text=True, check=True
        )
        return done.stdout + done.stderr

    dvc("remote", "add", "--local", "-d", "store", str(store))
    dvc("pull", "-q")
    assert ran(dvc("repro")) == set()
    assert (clone / "models/step2/model.safetensors").read_bytes() == (
        project.folder / "models/step2/model.safetensors"
    ).read_bytes()


def test_plots_show_curves_and_pictures(project: Project) -> None:
    project.run("dvc", "plots", "show", "-o", "page")
    page = (project.folder / "page" / "index.html").read_text()
    for title in (
        "Step-1 loss",
        "Boundary network loss",
        "Step-2 loss",
        "Step-1 mIoU against threshold",
    ):
        assert title in page
    assert "val.png" in page
    project.run("rm", "-r", "page")


@pytest.mark.parametrize(
    ("victim", "how", "seed"), [("dvc", signal.SIGKILL, 7), ("stage", signal.SIGTERM, 8)]
)
def test_a_killed_training_goes_on_to_the_same_bytes(
    project: Project, victim: str, how: signal.Signals, seed: int
) -> None:
    project.set("train_step1.seed", seed)  # never run before: no run-cache can answer
    checkpoints, model = (
        project.scratch / "training",
        project.folder / "models/step1/model.safetensors",
    )
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


def test_a_flipped_bit_in_any_artifact_is_found_by_its_reader(
    project: Project, tmp_path: Path
) -> None:
    for name in ("data", "models"):
        shutil.copytree(project.folder / name, tmp_path / name)
    results = bits.attack(tmp_path, times=5, seed=0)
    assert {
        "data/truth.parquet",
        "data/responses.parquet",
        "models/irn/config.json",
        "checkpoint.pt",
    } <= results.keys()
    assert all(tried == found for tried, found in results.values()), results
