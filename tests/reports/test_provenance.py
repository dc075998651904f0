"""A report never shows another run's numbers. dvc.lock reveals which stages ran."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from ruamel.yaml import YAML
from typer.testing import CliRunner

from tests.support.finished_run import md5
from tris_core.cli.main import app
from tris_core.reports.experiments import Absent, NotRun, RunFiles, open_files
from tris_core.reports.provenance import Lock
from tris_core.runtime.parquet import write_table

OUTS = {
    "index": ["data/index/expressions.parquet", "data/index/refs.parquet"],
    "train_step1": ["models/step1"],
    "evaluate_step1": ["data/evaluation/step1", "metrics/curves/step1_thresholds.csv"],
    "train_step2": ["models/step2"],
    "evaluate_step2": ["data/evaluation/step2"],
}
DEPS = {
    "index": ["index.py"],
    "train_step1": ["data/index/refs.parquet", "losses.py"],
    "evaluate_step1": ["models/step1", "data/index/refs.parquet"],
    "train_step2": ["models/step1", "step2.py"],
    "evaluate_step2": ["models/step2", "data/index/refs.parquet"],
}
PARAMS = {"index": ["dataset"], "train_step1": ["train_step1"], "train_step2": ["train_step2"]}
STEP1, STEP2 = ["index", "train_step1", "evaluate_step1"], ["train_step2", "evaluate_step2"]


def git(*arguments: str) -> None:
    names = {
        f"GIT_{who}_{what}": "tris" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")
    }
    subprocess.run(
        ["git", *arguments], check=True, env={**os.environ, **names}, capture_output=True
    )


def load(path: str) -> dict[str, Any]:
    content: dict[str, Any] = YAML(typ="safe").load(Path(path))
    return content


def dump(path: str, content: dict[str, Any]) -> None:
    YAML().dump(content, Path(path))


def set_param(section: str, key: str, value: Any) -> None:
    content = load("params.yaml")
    content[section][key] = value
    dump("params.yaml", content)


def run_stages(*names: str) -> None:
    """Write the outputs of some stages and their entries in dvc.lock, as `dvc repro` would."""
    locked = load("dvc.lock")["stages"] if Path("dvc.lock").exists() else {}
    params = load("params.yaml")
    for name in names:
        own = {key: params[key] for key in PARAMS.get(name, [])}
        read = [{"path": path, "hash": "md5", "md5": md5(Path(path))} for path in DEPS[name]]
        write_outputs(name, hashlib.md5(json.dumps([read, own]).encode()).digest()[0])
        made = [{"path": path, "hash": "md5", "md5": md5(Path(path))} for path in OUTS[name]]
        locked[name] = {"cmd": name, "deps": read, "params": {"params.yaml": own}, "outs": made}
    dump("dvc.lock", {"schema": "2.0", "stages": locked})


def write_outputs(name: str, value: int) -> None:
    for path in OUTS[name]:
        place = Path(path) if Path(path).suffix else Path(path, "file")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(str(value))
    if name == "evaluate_step1":
        Path(OUTS[name][1]).write_text(f"threshold,val\n0.5,{value / 256}\n")
    if name == "index":
        write_table(
            Path(OUTS["index"][0]),
            pd.DataFrame({"expression_id": [0, 1], "ref_id": [0, 0], "text": ["a", "b"]}),
        )
        write_table(
            Path(OUTS["index"][1]),
            pd.DataFrame({"ref_id": [0], "image_id": [value], "split": ["val"]}),
        )
    if name.startswith("evaluate"):
        records = pd.DataFrame(
            {"expression_id": [0, 1], "split": "val", "intersection": value, "union": 256}
        )
        hits = dict.fromkeys(("hit_box", "hit_mask", "acc_box"), True)
        write_table(Path(OUTS[name][0], "records.parquet"), records.assign(**hits))
        Path(OUTS[name][0], "metrics.json").write_text(
            json.dumps({"metrics": {"val": {"mIoU": value / 256}}})
        )


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A repository in which main has run all stages.

    Outputs are in Git, so no DVC command is needed.
    """
    monkeypatch.chdir(tmp_path)
    git("init", "-q", "-b", "main")
    Path(".dvc").mkdir()
    Path(".dvc/config").touch()
    Path(".dvc/.gitignore").write_text("/tmp\n/cache\n/config.local\n")
    declared = {
        name: {
            "cmd": name,
            "deps": DEPS[name],
            "params": PARAMS.get(name, []),
            "outs": [{p: {"cache": False}} for p in paths],
        }
        for name, paths in OUTS.items()
    }
    dump("dvc.yaml", {"stages": declared})
    dataset = {"name": "shapes", "split_by": "demo", "root": "data/shapes"}
    dump(
        "params.yaml",
        {"dataset": dataset, "train_step1": {"seed": 0, "lr": 0.1}, "train_step2": {"width": 8}},
    )
    for code in ("index.py", "losses.py", "step2.py"):
        Path(code).write_text(f"# {code}\n")
    Path("README.md").write_text("about\n")
    run_stages(*OUTS)
    commit("README: memory of the benchmark")


def commit(message: str) -> None:
    git("add", "-A")
    git("commit", "-qm", message, "--allow-empty")


def branch(name: str) -> None:
    git("checkout", "-q", "main")
    git("checkout", "-qb", name)


def tris(*arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, arguments)
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, done.output


def stale_in(revision: str) -> set[str]:
    with open_files(revision, revision) as files:
        return set(files.stale)


def test_what_a_partial_run_inherited_is_left_out(base: None) -> None:
    for seed in (1, 2):
        branch(f"q-s-{seed}")
        set_param("train_step1", "seed", seed)
        run_stages(*STEP1)
        commit(f"seed {seed}")
    code, said = tris("compare", "q-s=q-s-1,q-s-2", "--step", "2")
    assert code == 1
    assert "nothing to show" in said
    assert "Step-2: not run in q-s-1 (evaluate_step2: follows train_step2)" in said
    assert "Step-2: not run in q-s-2" in said
    code, said = tris("compare", "full=main,q-s-1", "--step", "2")
    assert code == 0
    assert said.splitlines()[-1].split("|")[2].strip() == "1"
    assert "Step-2: not run in q-s-1" in said
    code, said = tris("compare", "q-s=q-s-1,q-s-2", "--step", "1")
    assert code == 0
    assert "not run" not in said
    assert said.splitlines()[-1].split("|")[2].strip() == "2"
    code, said = tris("compare", "q-s=q-s-1", "--step", "2", "--table", "1")
    assert code == 1
    assert "Step-2: not run in q-s-1" in said


def test_the_page_of_a_partial_run_leaves_step_2_out(base: None) -> None:
    branch("q-s-1")
    set_param("train_step1", "seed", 1)
    run_stages(*STEP1)
    commit("seed 1")
    value = json.loads(Path("data/evaluation/step2/metrics.json").read_text())["metrics"]["val"][
        "mIoU"
    ]
    code, said = tris("page", "q-s-1", "--out", "page.html")
    assert code == 0, said
    page = Path("page.html").read_text()
    assert "Step-1, response maps, percent" in page
    assert "Step-2, predictions, percent" not in page
    assert f"{100 * value:.2f}" not in page
    left_out = "these stages were not run in it and are left out"
    assert f"q-s-1: {left_out}: train_step2 (read another models/step1)" in page
    assert "<td>train_step2</td>" not in page  # of the hashes


def test_parameters_edited_without_a_run(base: None) -> None:
    assert stale_in("workspace") == set()
    set_param("train_step2", "width", 9)
    code, said = tris("page", "--out", "page.html")
    assert code == 0, said
    page = Path("page.html").read_text()
    assert "workspace: these stages are out of date and left out" in page
    assert "train_step2.width: 8 in dvc.lock, 9 in params.yaml" in page
    assert "Step-1, response maps, percent" in page
    assert "Step-2, predictions, percent" not in page
    assert "changed but not committed: params.yaml" in page
    code, said = tris("compare", "now=workspace", "--step", "1")
    assert code == 0
    assert "train_step2.width: 8 in dvc.lock, 9 in params.yaml" in said
    code, said = tris("compare", "now=workspace", "--step", "2")
    assert code == 1
    assert "Step-2: out of date in workspace" in said


@pytest.mark.parametrize(
    ("value", "stale"), [(0.1, set()), (0.2, {"train_step1", "evaluate_step1", *STEP2})]
)
def test_only_parameters_that_a_stage_reads_count(
    base: None, value: float, stale: set[str]
) -> None:
    set_param("train_step1", "lr", value)
    content = load("params.yaml")
    content["runtime"] = {"threads": 3}
    dump("params.yaml", content)
    assert stale_in("workspace") == stale


def test_a_new_parameter_of_a_section_counts(base: None) -> None:
    set_param("train_step2", "ema", "none")
    with open_files("workspace", "workspace") as files:
        assert files.stale["train_step2"] == [
            "train_step2.ema: absent in dvc.lock, none in params.yaml"
        ]


@pytest.mark.parametrize(
    ("value", "same"), [(1, True), (1.0, True), (True, False), ("1", False), ([1], False)]
)
def test_true_is_not_the_number_one(value: Any, same: bool) -> None:
    """Unlike in Python, True is not equal to 1. 1 and 1.0 are equal: YAML may write either."""
    for wrap in (lambda leaf: leaf, lambda leaf: [[leaf, 0]], lambda leaf: {"deep": leaf}):
        lock = Lock(
            {"train": {"params": {"params.yaml": {"a.b": wrap(1)}}}}, {}, lambda folder, inner: None
        )
        now = {"params.yaml": {"a": {"b": wrap(value)}}}
        assert (lock.not_of_this_run(now.__getitem__) == {}) is same


def test_a_dependency_without_md5_is_not_taken_for_unchanged() -> None:
    """DVC records data from elsewhere by an ETag or another checksum."""
    deps = [{"path": "code.py", "etag": "x"}, {"path": "out", "checksum": "y"}, {"path": "gone"}]
    lock = Lock(
        {"make": {"outs": [{"path": "out", "md5": "m"}]}, "read": {"deps": deps}},
        {},
        lambda folder, inner: None,
    )
    assert lock.not_of_this_run(lambda file: {}) == {"read": ["out has no MD5 in dvc.lock"]}
    assert lock.changed_inputs({"code.py": "n"}.get) == {"read": ["code.py has no MD5 in dvc.lock"]}


def test_code_edited_without_a_run(base: None) -> None:
    Path("losses.py").write_text("# another loss\n")
    assert stale_in("workspace") == set()
    code, said = tris("page", "--out", "page.html")
    assert code == 0, said
    page = Path("page.html").read_text()
    assert "train_step1 (losses.py changed since); " in page
    assert "(follows train_step1)" in page
    assert "Step-2, predictions, percent" in page
    assert "losses.py changed since" in tris("compare", "now=workspace")[1]
    branch("edited")
    commit("code alone")
    assert stale_in("edited") == {"train_step1", "evaluate_step1", *STEP2}
    code, said = tris("compare", "full=main", "edited=edited")
    assert code == 1
    assert "Step-1: not run in edited (evaluate_step1: follows train_step1)" in said


def test_another_branch_without_its_data(base: None) -> None:
    """`git checkout` restores dvc.lock, but not the files that DVC stores."""
    other = Path("data/evaluation/step2/records.parquet").read_bytes()
    set_param("train_step2", "width", 9)
    run_stages(*STEP2)
    Path("data/evaluation/step2/records.parquet").write_bytes(other)
    with open_files("workspace", "workspace") as files:
        assert files.stale == {}
        with pytest.raises(NotRun, match=r"records\.parquet: not the one in dvc\.lock"):
            files.result("data/evaluation/step2/records.parquet")
        assert files.result("data/evaluation/step1/records.parquet")


def test_a_stage_that_never_ran(base: None) -> None:
    content = load("dvc.lock")
    del content["stages"]["train_step2"]
    dump("dvc.lock", content)
    with open_files("workspace", "workspace") as files:
        assert files.stale == {
            "train_step2": ["not in dvc.lock"],
            "evaluate_step2": ["follows train_step2"],
        }


def test_a_missing_lock_is_noted(base: None) -> None:
    Path("dvc.lock").unlink()
    code, said = tris("page", "--out", "page.html")
    assert code == 0, said
    assert "there is no dvc.lock" in Path("page.html").read_text()


def test_a_lock_in_the_middle_of_a_merge(base: None) -> None:
    Path("dvc.lock").write_text("<<<<<<< HEAD\nstages: [\n")
    code, said = tris("page", "--out", "page.html")
    assert code == 1
    assert "dvc.lock is not YAML" in said


def test_the_headline_has_the_commit_and_the_changes(base: None) -> None:
    with open_files("workspace", "workspace") as files:
        assert files.commit().endswith(', "README: memory of the benchmark"; the run is committed')
    Path("README.md").write_text("other words\n")
    with open_files("workspace", "workspace") as files:
        assert files.commit().endswith("; the run is committed")
    Path("losses.py").write_text("# another loss\n")
    with open_files("workspace", "workspace") as files:
        assert files.commit().endswith(
            ', "README: memory of the benchmark"; changed but not committed: losses.py'
        )
    with open_files("main", "main") as files:
        assert files.commit().endswith(', "README: memory of the benchmark"')


def test_a_part_of_a_folder() -> None:
    """A stage that reads part of an output is stale once that part changes, if its MD5 is known."""
    locked = {
        "draw": {"outs": [{"path": "data/shapes", "md5": "new.dir"}]},
        "index": {"deps": [{"path": "data/shapes/refer/shapes", "md5": "old.dir"}]},
    }
    for known, stale in (("old.dir", set()), ("other.dir", {"index"}), (None, set())):
        asked = []
        lock = Lock(
            locked,
            {},
            lambda folder, inner, known=known, asked=asked: asked.append((folder, inner)) or known,
        )
        assert set(lock.not_of_this_run(lambda file: {})) == stale
        assert asked == [("new.dir", ("refer", "shapes"))]


@pytest.mark.parametrize("command", [["compare", "full"], ["page", "full", "--out", "page.html"]])
def test_where_no_run_can_be_found(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    said = tris(*command)
    assert said[0] == 1
    assert "no DVC repository; run `tris` in the folder with dvc.yaml" in said[1]
    Path(".dvc").mkdir()
    Path(".dvc/config").write_text("[core]\n    no_scm = true\n")
    assert "not under Git" in tris(*command)[1]
    Path(".dvc/config").write_text("")
    git("init", "-q")
    assert "has no commit yet" in tris(*command)[1]


def test_names_that_do_not_exist(base: None, monkeypatch: pytest.MonkeyPatch) -> None:
    known = {"no-t2v-1": "main", "full-1": "main"}
    assert "--baseline mian: no such commit" in tris("compare", "full", "--baseline", "mian")[1]
    monkeypatch.setattr("tris_core.reports.experiments.experiments", lambda baseline: known)
    monkeypatch.setattr("tris_core.reports.table.experiments", lambda baseline: known)
    assert (
        "no-t2b: no such experiment of HEAD; did you mean no-t2v?" in tris("compare", "no-t2b")[1]
    )
    assert (
        "xyz: no such experiment of HEAD; known are full-1, no-t2v-1" in tris("compare", "xyz")[1]
    )
    assert (
        "called no-t2v; did you mean no-t2v-1?" in tris("page", "no-t2v", "--out", "page.html")[1]
    )


def test_what_dvc_itself_ran(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A real pipeline: run-cache, an experiment with a target, and a clone that pulled."""
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    project = tmp_path / "project"
    project.mkdir()
    monkeypatch.chdir(project)
    git("init", "-q", "-b", "main")
    dvc("init", "-q")
    stages = {
        "first": {
            "cmd": "mkdir -p out && cat params.yaml code/main > out/file",
            "deps": ["code"],
            "params": ["a"],
            "outs": ["out"],
        },
        "second": {"cmd": "cp out/file end", "deps": ["out"], "params": ["b"], "outs": ["end"]},
    }
    dump("dvc.yaml", {"stages": stages})
    Path("code").mkdir()
    Path("code/main").write_text("x\n")
    Path(".dvcignore").write_text("__pycache__/\n")
    Path(".gitignore").write_text("__pycache__/\n")
    dump("params.yaml", {"a": 1, "b": 1})
    dvc("repro")
    commit("first")
    Path("code/__pycache__").mkdir()
    Path("code/__pycache__/main.pyc").write_text("written by Python when the stage ran\n")
    with open_files("workspace", "workspace") as files:
        assert files.edited == {}
    assert stale_in("main") == stale_in("workspace") == set()
    for value in (2, 1):
        dump("params.yaml", {"a": value, "b": 1})
        dvc("repro", "-q")
    assert stale_in("workspace") == set()
    dvc("exp", "run", "--temp", "-n", "part", "-S", "a=3", "first")
    with open_files("part", "part") as files:
        assert files.stale == {"second": ["read another out"]}
        assert files.result("out/file").read_text().startswith("a: 3")
        with pytest.raises(NotRun, match="second: not run in part"):
            files.result("end")
    dvc("remote", "add", "-q", "-d", "store", str(tmp_path / "store"))
    dvc("push", "-q")
    commit("a store")
    git("clone", "-q", str(project), str(tmp_path / "clone"))
    monkeypatch.chdir(tmp_path / "clone")
    assert stale_in("workspace") == set()
    with (
        open_files("workspace", "workspace") as files,
        pytest.raises(Absent, match="end is missing"),
    ):
        files.result("end")
    dvc("pull", "-q")
    assert stale_in("workspace") == stale_in("main") == set()
    with open_files("workspace", "workspace") as files:
        assert files.result("end").read_text() == files.result("out/file").read_text()
        shutil.copy("code/main", "out/file")
        with pytest.raises(NotRun, match=r"out/file: not the one in dvc\.lock"):
            RunFiles("workspace", "workspace", tmp_path / "files").result("out/file")


def dvc(*arguments: str) -> None:
    names = {
        f"GIT_{who}_{what}": "tris" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")
    }
    done = subprocess.run(
        ["dvc", *arguments], env={**os.environ, **names}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("declared", "why"),
    [
        ({"cmd": "make --all", "outs": ["a"]}, "ran another command"),
        ({"cmd": "make", "outs": ["a", {"b": {"cache": False}}]}, "did not make b"),
        ({"cmd": "make", "outs": ["a"], "deps": ["c"]}, "did not read c"),
        ({"cmd": "make", "outs": ["a"], "params": ["d", {"other.yaml": ["e"]}]}, "did not know d"),
    ],
)
def test_a_stage_that_dvc_yaml_declares_otherwise_has_not_run(
    declared: dict[str, Any], why: str
) -> None:
    locked = {"first": {"cmd": "make", "outs": [{"path": "a", "md5": "1"}]}}
    for stage, expected in (
        (declared, {"first": [why]}),
        ({"cmd": "make", "outs": ["a"]}, {}),
        ({"cmd": "${x}"}, {}),
    ):
        lock = Lock(locked, {"first": stage}, lambda *_: None)
        assert lock.not_of_this_run(lambda _: {}) == expected
