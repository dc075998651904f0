"""A finished tiny run. Its sentences and file names contain HTML, which the page must escape."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from stages._artifacts import CRF_SEEDS, CURVES, EXPRESSIONS, IMAGES, PREDICTIONS, PSEUDO_LABELS
from tests.support.finished_run import HOSTILE, evaluate_with_truth_for, write_lock
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
        evaluate_with_truth_for(pd.read_parquet(PREDICTIONS)["expression_id"] % 3 == 0)
        _seeds()
        CURVES.mkdir(exist_ok=True)
        (CURVES / "step1.csv").write_text("step,total,cls\n10,2.5,1.5\n20,1.5,0.5\n")
        texts = pd.read_parquet(EXPRESSIONS)
        texts["text"] = texts["text"].where(texts["expression_id"] % 2 == 0, HOSTILE)
        write_table(EXPRESSIONS, texts)
        images = pd.read_parquet(IMAGES)
        for path in images["path"]:
            Path("data/shapes", path).rename(Path("data/shapes", hostile(path)))
        write_table(IMAGES, images.assign(path=images["path"].map(hostile)))
        write_lock()
    return folder


def hostile(path: str) -> str:
    """A path with a tag at the beginning of its file name."""
    return str(Path(path).with_name(f"<b>{Path(path).name}"))


def _seeds() -> None:
    """Write seeds that equal the pseudo-labels."""
    labels = pd.read_parquet(PSEUDO_LABELS)
    masks = [decode(row.counts, row.height, row.width) for row in labels.itertuples()]
    seeds = labels[["ref_id"]].assign(
        image_id=0, label=[encode_label(mask.astype(np.uint8)) for mask in masks]
    )
    write_table(CRF_SEEDS, seeds)


@pytest.fixture
def finished(finished_once: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the run, as the working directory."""
    monkeypatch.setattr("stages._stage.end_with_parent", lambda: None)
    pages = shutil.ignore_patterns("page.html")
    monkeypatch.chdir(shutil.copytree(finished_once, tmp_path / "work", ignore=pages))
    monkeypatch.setenv("TRIS_SCRATCH", str(tmp_path / "work" / "scratch"))
    return Path()
