"""TODO."""

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
)
from tests.support.closure import ROOT
from tris_core.evaluation.outputs import write_evaluation
from tris_core.evaluation.records import score_rows
from tris_core.runtime.parquet import write_table

HOSTILE = """<script>alert("1")</script> & <img src=x onerror='alert(2)'> {{ 7 * 7 }}"""


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


def judge_truth_for(chosen: "pd.Series[bool]") -> None:
    """Put the true masks in the place of some predictions (`chosen`, by row), and judge all as evaluate_step2 does."""
    made, truth = pd.read_parquet(PREDICTIONS), pd.read_parquet(TRUTH).set_index("ref_id")
    made["counts"] = made["counts"].where(~chosen, made["ref_id"].map(truth["counts"]))
    write_table(PREDICTIONS, made)
    records, place = score_rows(made, truth), (METRICS / "step2.json", EVALUATION / "step2")
    write_evaluation(records, truth, PREDICTIONS, *place, {"threshold": 0.0}, min_box_fraction=0.0)
