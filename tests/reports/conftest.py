"""A finished tiny run to report on, with a sentence and a file name that would break out of a careless page."""

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from ruamel.yaml import YAML

from stages._evaluation import write_evaluation
from stages._paths import CURVES, EVALUATION, EXPRESSIONS, IMAGES, IRN_LABELS, METRICS, PREDICTIONS, PSEUDO_LABELS, TRUTH
from tests.pipeline.closure import ROOT
from tests.pipeline.in_process import run
from tests.pipeline.unevaluated import EVALUATIONS, make_unevaluated
from tris_core.data.rle import decode
from tris_core.evaluation import score_rows
from tris_core.parquet import write_table
from tris_core.refinement.crf import encode_label

HOSTILE = """<script>alert("1")</script> & <img src=x onerror='alert(2)'> {{ 7 * 7 }}"""


@pytest.fixture(scope="session")
def finished_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report") / "work"
    folder.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        make_unevaluated(patch, folder)
        for module in EVALUATIONS:
            run(module)
        judge_truth_for(pd.read_parquet(PREDICTIONS)["expression_id"] % 3 == 0)
        _seeds()
        CURVES.mkdir(exist_ok=True)
        (CURVES / "step1.csv").write_text("step,total,cls\n10,2.5,1.5\n20,1.5,0.5\n")
        texts = pd.read_parquet(EXPRESSIONS)
        texts["text"] = texts["text"].where(texts["expression_id"] % 2 == 0, HOSTILE)
        write_table(EXPRESSIONS, texts)
        images = pd.read_parquet(IMAGES)
        for path in images["path"]:
            Path("data/shapes/images", path).rename(Path("data/shapes/images", f"<b>{path}"))
        write_table(IMAGES, images.assign(path="<b>" + images["path"]))
        write_lock()
    return folder


def write_lock() -> None:
    """dvc.lock as if the run had just made all that is there."""
    stages = {}
    for name, stage in YAML(typ="safe").load(ROOT / "dvc.yaml")["stages"].items():
        entries = [entry for kind in ("outs", "metrics", "plots") for entry in stage.get(kind, [])]
        outs = [Path(entry if isinstance(entry, str) else next(iter(entry))) for entry in entries]
        made = [{"path": str(out), "md5": md5(out), "size": 12345} for out in outs if out.exists()]
        stages[name] = {"deps": [{"path": "stages/index.py", "md5": "1"}], "outs": made}
    YAML().dump({"schema": "2.0", "stages": stages}, Path("dvc.lock"))


def md5(path: Path) -> str:
    """As DVC takes it: of a file's content, or of the listing of a folder."""
    if path.is_file():
        return hashlib.md5(path.read_bytes()).hexdigest()
    files = sorted(str(file.relative_to(path)) for file in path.rglob("*") if file.is_file())
    listing = [{"md5": md5(path / file), "relpath": file} for file in files]
    return hashlib.md5(json.dumps(listing, sort_keys=True).encode()).hexdigest() + ".dir"


def _seeds() -> None:
    labels = pd.read_parquet(PSEUDO_LABELS)
    seeds = [decode(row.counts, row.height, row.width).astype(np.uint8) for row in labels.itertuples()]
    write_table(
        IRN_LABELS, pd.DataFrame({"ref_id": labels["ref_id"], "image_id": 0, "label": [encode_label(seed) for seed in seeds]})
    )


@pytest.fixture
def finished(finished_once: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the run in a folder of its own, which is the current one."""
    monkeypatch.setattr("stages._stage.end_with_parent", lambda: None)
    monkeypatch.chdir(shutil.copytree(finished_once, tmp_path / "work", ignore=shutil.ignore_patterns("page.html")))
    monkeypatch.setenv("TRIS_SCRATCH", str(tmp_path / "work" / "scratch"))
    return Path()


def judge_truth_for(chosen: "pd.Series[bool]") -> None:
    """Put the true masks in the place of some predictions (`chosen`, by row), and judge all as evaluate_step2 does."""
    made, truth = pd.read_parquet(PREDICTIONS), pd.read_parquet(TRUTH).set_index("ref_id")
    made["counts"] = made["counts"].where(~chosen, made["ref_id"].map(truth["counts"]))
    write_table(PREDICTIONS, made)
    records, place = score_rows(made, truth), (METRICS / "step2.json", EVALUATION / "step2")
    write_evaluation(records, truth, PREDICTIONS, *place, {"threshold": 0.0}, min_box_fraction=0.0)
