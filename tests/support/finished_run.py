"""Changes to a finished run: a dvc.lock, hostile text, predictions that are correct."""

import hashlib
import json
from pathlib import Path

import pandas as pd
from ruamel.yaml import YAML

from stages._artifacts import (
    EVALUATION,
    METRICS,
    PREDICTIONS,
    TRUTH,
    open_index,
    open_truth,
    read_cut,
)
from tests.support.closure import ROOT
from tris_core.evaluation.breakdowns import describe
from tris_core.evaluation.outputs import write_evaluation, write_headlines
from tris_core.evaluation.records import digests, score_rows
from tris_core.runtime.parquet import read_table, write_table

HOSTILE = """<script>alert("1")</script> & <img src=x onerror='alert(2)'> {{ 7 * 7 }}"""


def write_lock() -> None:
    """Write a dvc.lock as if the run had just made all existing outputs."""
    stages = {}
    for name, stage in YAML(typ="safe").load(ROOT / "dvc.yaml")["stages"].items():
        entries = [entry for kind in ("outs", "metrics", "plots") for entry in stage.get(kind, [])]
        outs = [Path(entry if isinstance(entry, str) else next(iter(entry))) for entry in entries]
        made = [{"path": str(out), "md5": md5(out), "size": 12345} for out in outs if out.exists()]
        code = [{"path": path, "md5": "1"} for path in ("stages/index.py", "tris_core/data")]
        stages[name] = {"deps": code, "outs": made}
    YAML().dump({"schema": "2.0", "stages": stages}, Path("dvc.lock"))


def md5(path: Path) -> str:
    """The MD5 that DVC records: of a file's content, or of a folder's listing."""
    if path.is_file():
        return hashlib.md5(path.read_bytes()).hexdigest()
    files = sorted(str(file.relative_to(path)) for file in path.rglob("*") if file.is_file())
    listing = [{"md5": md5(path / file), "relpath": file} for file in files]
    return hashlib.md5(json.dumps(listing, sort_keys=True).encode()).hexdigest() + ".dir"


def evaluate_with_truth_for(chosen: "pd.Series[bool]") -> None:
    """Replace some predictions by true masks, and evaluate all as evaluate_step2 does.

    `chosen` says which, by row.
    """
    made, truth = read_table(PREDICTIONS), open_truth()
    true = truth.encoded(made["ref_id"])
    made["counts"] = made["counts"].where(~chosen, true["counts"])
    write_table(PREDICTIONS, made)
    records, facts = score_rows(made, truth), describe(open_index(), truth, read_cut())
    about = {"threshold": 0.0, "sha256": digests(PREDICTIONS, TRUTH)}
    metrics = write_evaluation(EVALUATION / "step2", records, facts, about, min_box_fraction=0.0)
    write_headlines(METRICS / "step2.json", metrics)
