"""Paths of all artifacts, as in dvc.yaml, relative to the working directory; and their readers."""

from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from stages._stage import Run, remake
from tris_core.runtime.errors import InputError
from tris_core.runtime.params import DatasetParams
from tris_core.runtime.parquet import read_table
from tris_core.runtime.scratch import scratch_root

if TYPE_CHECKING:  # imported on use, since some stages need none of them
    from tris_core.data.index import Index
    from tris_core.data.packed import PackedImages
    from tris_core.data.truth import Truth

SHAPES = Path("data/shapes")

INDEX = Path("data/index")
IMAGES = INDEX / "images.parquet"
REFS = INDEX / "refs.parquet"
EXPRESSIONS = INDEX / "expressions.parquet"
TRUTH = Path("data/truth.parquet")
TOKENS = Path("data/tokens.parquet")

PACKED = Path("data/packed.json")
CLIP = Path("models/clip.json")
STEP1 = Path("models/step1")
RESPONSES = Path("data/responses.parquet")
PRMS = Path("data/prms.parquet")
CRF_SEEDS = Path("data/crf_seeds.parquet")
IRN = Path("models/irn")
PSEUDO_LABELS = Path("data/pseudo_labels.parquet")
STEP2 = Path("models/step2")
PREDICTIONS = Path("data/predictions.parquet")
EVALUATION = Path("data/evaluation")
STEP1_RECORDS = EVALUATION / "step1" / "records.parquet"

METRICS = Path("metrics")
CURVES = METRICS / "curves"
SHEETS = METRICS / "sheets"


def dataset_root(run: Run) -> Path:
    """The folder that the paths of the images table are relative to.

    It is not a result: moving the data reruns no stage except `index`.
    """
    return Path(run.params[DatasetParams].root)


def checked_root(run: Run, images: pd.DataFrame) -> Path:
    """`dataset_root`, for stages that read image files.

    Raises `InputError` if a file has changed since it was packed.
    """
    from tris_core.data.packed import check_pictures

    root = dataset_root(run)
    check_pictures(PACKED, images, root, scratch_root())
    return root


def open_index() -> "Index":
    """The index. Each of its tables is read when it is first used."""
    from tris_core.data.index import Index

    return Index.open(INDEX)


def open_packed(run: Run, index: "Index") -> "PackedImages":
    """The images at training size, by their row in `index.images`."""
    from tris_core.data.packed import PackedImages

    root, workers = dataset_root(run), run.runtime.workers
    return PackedImages(PACKED, index.images, root, scratch_root(), workers=workers)


def open_truth() -> "Truth":
    """The ground truth, for evaluation and drawings."""
    from tris_core.data.truth import Truth

    return Truth.open(TRUTH)


def read_cut() -> "pd.Series[bool]":
    """Whether the models read only the beginning of a sentence, by expression_id."""
    return read_table(TOKENS, ["expression_id", "cut"]).set_index("expression_id")["cut"]


# Tables of earlier stages must belong to the current index. DVC guarantees this, but someone who
# runs stages by hand may have rebuilt the index in between.
KEYS = {
    TOKENS: ("expression_id",),
    RESPONSES: ("expression_id", "ref_id", "image_id", "split"),
    PRMS: ("expression_id", "ref_id"),
    STEP1_RECORDS: ("expression_id", "split"),
    CRF_SEEDS: ("ref_id", "image_id"),
    PSEUDO_LABELS: ("ref_id", "height", "width"),
    PREDICTIONS: ("expression_id", "ref_id", "split"),
}


def check_keys(index: "Index", *paths: Path) -> None:
    """Raise `InputError` unless each table has the keys (`KEYS`) that the index requires."""
    for path in paths:
        keys = list(KEYS[path])
        expected = _expected(index, path)[keys].sort_values(keys[0], ignore_index=True)
        found = read_table(path, keys).sort_values(keys[0], ignore_index=True)
        if difference := _difference(found, expected):
            source = EXPRESSIONS if "expression_id" in keys else REFS
            raise InputError(f"{path}: not of {source}, {difference}; run {remake(path)}")


def _expected(index: "Index", path: Path) -> pd.DataFrame:
    """The rows of the index that a table must have, its keys among the columns."""
    if "expression_id" in KEYS[path]:
        table = index.joined()
        return table[open_truth().covers(table["ref_id"])] if path == STEP1_RECORDS else table
    train = index.refs[index.refs["split"] == "train"]
    return train.merge(index.images, on="image_id") if "height" in KEYS[path] else train


def _difference(found: pd.DataFrame, expected: pd.DataFrame) -> str | None:
    """The first difference of two tables, in words; None if they are equal."""
    if len(found) != len(expected):
        return f"which asks for {len(expected)} rows where it has {len(found)}"
    differs = pd.concat([found[key] != expected[key] for key in expected], axis=1).any(axis=1)
    if not differs.any():
        return None
    row = int(differs.idxmax())
    return f"which says {_shown(expected, row)} where it says {_shown(found, row)}"


def _shown(table: pd.DataFrame, row: int) -> str:
    return " ".join(f"{key} {table[key].iloc[row]}" for key in table)
