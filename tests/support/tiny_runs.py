"""Experiments of the tiny index, in folders, with random predictions."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import pytest

from tests.support.tiny_index import INDEX, TRUTH, make_predictions, write_index
from tris_core.evaluation.breakdowns import describe
from tris_core.evaluation.outputs import write_evaluation
from tris_core.evaluation.records import score_rows
from tris_core.reports.experiments import WORKSPACE, RunFiles


class Runs(NamedTuple):
    """By name: what stands for the revision of an experiment, and its records of val."""

    known: dict[str, str]
    records: dict[str, pd.DataFrame]


class Elsewhere(RunFiles):
    """The files of a run in a folder, instead of those of a revision."""

    def __init__(self, name: str, folder: str, own: Path) -> None:
        super().__init__(name, WORKSPACE, own)
        self.root = Path(folder)


def write_runs(patch: pytest.MonkeyPatch, folder: Path, names: Sequence[str]) -> Runs:
    """Write runs with the seeds 0, 1, ... and let reports read them as experiments."""

    @contextmanager
    def open_files(name: str, revision: str, known: list[str]) -> Iterator[RunFiles]:
        yield Elsewhere(name, revision, folder)

    patch.setattr("tris_core.reports.table.open_files", open_files)
    records = {name: _write_run(folder / name, seed) for seed, name in enumerate(names)}
    return Runs({name: str(folder / name) for name in reversed(names)}, records)


def _write_run(folder: Path, seed: int) -> pd.DataFrame:
    """Write what a run measured, and return its records of val. Val's best threshold is 0.2."""
    write_index(folder / "data" / "index")
    facts = describe(INDEX, TRUTH, None)
    records = score_rows(make_predictions(seed), TRUTH)
    for step in ("step1", "step2"):
        out = folder / "data" / "evaluation" / step
        out.parent.mkdir(parents=True, exist_ok=True)
        write_evaluation(out, records, facts, {}, min_box_fraction=0)
    metrics = folder / "metrics"
    (metrics / "curves").mkdir(parents=True)
    curve = pd.DataFrame({"train": [0.1, 0.2, 0.4], "val": [0.3, 0.5, 0.2]}, [0.0, 0.2, 0.4])
    curve.to_csv(metrics / "curves" / "step1_thresholds.csv")
    (metrics / "prms.json").write_text(json.dumps({"val": {"without": 0.1, "with": 0.2 + seed}}))
    labels = {"train": {"response_mIoU": 0.3, "pseudo_mIoU": 0.4}}
    (metrics / "pseudo_labels.json").write_text(json.dumps(labels))
    (folder / "params.yaml").write_text("dataset: {name: refcoco, split_by: unc}\n")
    records = records.merge(facts.reset_index()[["expression_id", "image_id", "split"]])
    return records[records["split"] == "val"]
