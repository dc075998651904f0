"""A stage run by hand refuses tables of another index, and names the stage to run again."""

import importlib
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import stages.evaluate_step1
import stages.index
import stages.predict_step2
from stages._artifacts import (
    CRF_SEEDS,
    PREDICTIONS,
    PRMS,
    PSEUDO_LABELS,
    REFS,
    RESPONSES,
    STEP1_RECORDS,
    TOKENS,
)
from tests.support.closure import ROOT
from tests.support.in_process import run, set_param
from tests.support.unevaluated import make_unevaluated
from tris_core.responses.file import write_responses
from tris_core.runtime.parquet import write_table
from tris_core.shapes.dataset import write_shapes

READ_BY = {
    TOKENS: (
        "train_step1", "dump_responses", "score_prms", "train_step2", "predict_step2",
        "evaluate_step1", "evaluate_step2",
    ),
    RESPONSES: (
        "score_prms", "evaluate_step1", "crf_seeds", "refine", "evaluate_labels", "draw_sheets",
    ),
    PRMS: ("evaluate_prms", "crf_seeds", "refine", "evaluate_labels"),
    STEP1_RECORDS: ("evaluate_prms",),
    CRF_SEEDS: ("train_irn",),
    PSEUDO_LABELS: ("evaluate_labels", "train_step2", "draw_sheets"),
    PREDICTIONS: ("evaluate_step2", "draw_sheets"),
}  # fmt: skip
MAKERS = {
    RESPONSES: "dump_responses", PRMS: "score_prms", PSEUDO_LABELS: "refine",
    STEP1_RECORDS: "evaluate_step1", CRF_SEEDS: "crf_seeds", TOKENS: "prepare_clip",
    PREDICTIONS: "predict_step2",
}  # fmt: skip


def fewer(table: pd.DataFrame) -> pd.DataFrame:
    return table.iloc[1:]


def other_id(table: pd.DataFrame) -> pd.DataFrame:
    """The last row under a number that the index does not have."""
    name = "expression_id" if "expression_id" in table else "ref_id"
    last = np.arange(len(table)) == len(table) - 1
    return table.assign(**{name: table[name].mask(last, table[name].max() + 1000)})


def other_owner(table: pd.DataFrame) -> pd.DataFrame:
    """The ids are those of the index, what they belong to is not."""
    name = next(name for name in ("image_id", "height", "ref_id") if name in table)
    return table.assign(**{name: table[name] + 1})


def other_split(table: pd.DataFrame) -> pd.DataFrame:
    return table.assign(split=table["split"].replace({"val": "test", "test": "val"}))


CASES = [
    (path, stage, change)
    for path, names in READ_BY.items()
    for stage in names
    for change in (fewer, other_id, *([other_split] if path in (RESPONSES, STEP1_RECORDS) else []))
] + [(path, READ_BY[path][0], other_owner) for path in (RESPONSES, PRMS, PSEUDO_LABELS, CRF_SEEDS)]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("work")
    with pytest.MonkeyPatch.context() as patch:
        make_unevaluated(patch, folder)
        shutil.copy(ROOT / "dvc.yaml", folder)
        run(stages.evaluate_step1)
        run(stages.predict_step2)
        refs = pd.read_parquet(REFS)
        train = refs.loc[refs["split"] == "train", ["ref_id", "image_id"]]
        write_table(CRF_SEEDS, train.assign(label=b""))
    return folder


@pytest.fixture
def place(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("stages._stage.end_with_parent", lambda: None)
    monkeypatch.chdir(shutil.copytree(made, tmp_path / "copy"))
    monkeypatch.setenv("TRIS_SCRATCH", str(tmp_path / "copy" / "scratch"))
    return Path()


def refused(stage: str) -> str:
    result = CliRunner().invoke(importlib.import_module(f"stages.{stage}").app, [])
    assert result.exit_code == 1, result.output
    assert isinstance(result.exception, SystemExit), result.exception
    return str(result.output)


@pytest.mark.parametrize(
    ("path", "stage", "change"), CASES, ids=lambda v: getattr(v, "stem", getattr(v, "__name__", v))
)
def test_a_table_of_another_index_is_refused(
    path: Path, stage: str, change: Callable[[pd.DataFrame], pd.DataFrame], place: Path
) -> None:
    set_param("refine.method", "threshold" if stage == "refine" else "irn")  # needs no network
    write_table(path, change(pd.read_parquet(path)))
    said = refused(stage)
    assert f"{stage}: {path}: not of data/index/" in said
    assert f"run `dvc repro {MAKERS[path]}`" in said


def test_the_order_of_rows_does_not_matter(place: Path) -> None:
    table = pd.read_parquet(RESPONSES)
    with write_responses(RESPONSES, 64) as write:
        maps = np.stack(table["map"].to_list()).reshape(len(table), 2, 2)
        write(table.iloc[::-1].drop(columns=["map", "height", "width"]), maps[::-1].copy())
    assert "val: mIoU" in run(stages.evaluate_step1)


def test_an_index_made_anew_by_hand_is_seen(place: Path) -> None:
    shutil.rmtree("data/shapes")
    write_shapes(Path("data/shapes"), train=3, val=3, test=2, seed=1)
    run(stages.index)
    assert "dvc repro" in refused("evaluate_step1")
