"""A finished tiny run to report on, with a sentence and a file name that would break out of a careless page."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from stages._artifacts import CRF_SEEDS, CURVES, EXPRESSIONS, IMAGES, PREDICTIONS, PSEUDO_LABELS
from tests.support.finished_run import HOSTILE, judge_truth_for, write_lock
from tests.support.in_process import run
from tests.support.unevaluated import EVALUATIONS, make_unevaluated
from tris_core.crf.seeds import encode_label
from tris_core.data.rle import decode
from tris_core.runtime.parquet import write_table


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


def _seeds() -> None:
    labels = pd.read_parquet(PSEUDO_LABELS)
    seeds = [
        decode(row.counts, row.height, row.width).astype(np.uint8) for row in labels.itertuples()
    ]
    write_table(
        CRF_SEEDS,
        pd.DataFrame(
            {
                "ref_id": labels["ref_id"],
                "image_id": 0,
                "label": [encode_label(seed) for seed in seeds],
            }
        ),
    )


@pytest.fixture
def finished(finished_once: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the run in a folder of its own, which is the current one."""
    monkeypatch.setattr("stages._stage.end_with_parent", lambda: None)
    monkeypatch.chdir(
        shutil.copytree(
            finished_once, tmp_path / "work", ignore=shutil.ignore_patterns("page.html")
        )
    )
    monkeypatch.setenv("TRIS_SCRATCH", str(tmp_path / "work" / "scratch"))
    return Path()
