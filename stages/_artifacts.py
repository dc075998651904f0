"""Where every artifact lies, as dvc.yaml declares it. Relative to the folder the stage runs in."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from stages._stage import Run
from tris_core.runtime.files import read_sealed_json
from tris_core.runtime.params import DatasetParams
from tris_core.runtime.parquet import read_table
from tris_core.runtime.scratch import scratch_root

if TYPE_CHECKING:  # it imports torch, which some stages do without
    from tris_core.data.packed import PackedImages

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

METRICS = Path("metrics")
CURVES = METRICS / "curves"
SHEETS = METRICS / "sheets"


def dataset_root(run: Run) -> Path:
    """The folder that the paths of the images table are relative to.

    Where the data lie is no result, so no stage but `index` depends on it.
    """
    return Path(run.params[DatasetParams].root)


def checked_root(run: Run, images: pd.DataFrame) -> Path:
    """`dataset_root`, for stages that read image files; raises `InputError` if one is not what was packed."""
    from tris_core.data.packed import check_pictures

    root = dataset_root(run)
    check_pictures(PACKED, images, root, scratch_root())
    return root


def open_images(run: Run) -> "tuple[pd.DataFrame, PackedImages]":
    """The images table, and the images at training size by its rows."""
    from tris_core.data.packed import PackedImages

    images = read_table(IMAGES)
    root, workers = dataset_root(run), run.runtime.workers
    return images, PackedImages(PACKED, images, root, scratch_root(), workers=workers)


def read_refs() -> pd.DataFrame:
    """ref_id, image_id and split of every ref. Categories are for evaluation, and take memory."""
    return read_table(REFS, ["ref_id", "image_id", "split"])


def expressions_with_images(images: pd.DataFrame) -> tuple[pd.DataFrame, NDArray[np.int64]]:
    """Expressions joined with their ref's image_id and split, in the order of the file, and the image row of each."""
    table = read_table(EXPRESSIONS).merge(
        read_refs(), on="ref_id", how="left", validate="many_to_one"
    )
    row = pd.Series(np.arange(len(images)), index=images["image_id"])
    return table, row.loc[table["image_id"]].to_numpy(np.int64)


def read_clip() -> dict[str, Any]:
    """`models/clip.json`: backbone, scorer, text."""
    return read_sealed_json(CLIP, "make it again (`dvc repro -f prepare_clip`)")


def read_cut() -> "pd.Series[bool]":
    """Whether the models read only the beginning of a sentence, by expression_id."""
    return read_table(TOKENS, ["expression_id", "cut"]).set_index("expression_id")["cut"]
