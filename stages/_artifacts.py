"""Paths of all artifacts, as in dvc.yaml, relative to the working directory; and their readers."""

from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from stages._stage import Run
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
DROPS = Path("data/drops.parquet")
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
