"""Where every artifact lies, as dvc.yaml declares it. Relative to the folder the stage runs in."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from stages._stage import PARAMS
from tris_core.annotations.layout import IMAGE_FOLDERS
from tris_core.data.packed import PackedImages, check_pictures
from tris_core.runtime.files import read_sealed_json
from tris_core.runtime.params import DatasetParams, RuntimeParams, load_section
from tris_core.runtime.parquet import read_table
from tris_core.runtime.scratch import scratch_root

SHAPES = Path("data/shapes")

INDEX = Path("data/index")
IMAGES = INDEX / "images.parquet"
REFS = INDEX / "refs.parquet"
EXPRESSIONS = INDEX / "expressions.parquet"
TRUTH = INDEX / "truth.parquet"
TOKENS = INDEX / "tokens.parquet"

PACKED = Path("data/packed.json")
CLIP = Path("models/clip.json")
STEP1 = Path("models/step1")
RESPONSES = Path("data/responses.parquet")
PRMS = Path("data/prms.parquet")
IRN_LABELS = Path("data/irn_labels.parquet")
IRN = Path("models/irn")
PSEUDO_LABELS = Path("data/pseudo_labels.parquet")
STEP2 = Path("models/step2")
PREDICTIONS = Path("data/predictions.parquet")
EVALUATION = Path("data/evaluation")
STEP1_RECORDS = EVALUATION / "step1" / "records.parquet"

METRICS = Path("metrics")
CURVES = METRICS / "curves"
SHEETS = METRICS / "sheets"


def image_folder() -> Path:
    """The folder that the paths of the images table are relative to."""
    dataset = load_section(PARAMS, DatasetParams)
    return Path(dataset.root) / IMAGE_FOLDERS[dataset.name]


def checked_image_folder(images: pd.DataFrame) -> Path:
    """`image_folder`, for stages that read image files; raises `InputError` if one is not what was packed."""
    folder = image_folder()
    check_pictures(PACKED, images, folder, scratch_root())
    return folder


def open_images() -> tuple[pd.DataFrame, PackedImages]:
    """The images table, and the images at training size by its rows."""
    images = read_table(IMAGES)
    workers = load_section(PARAMS, RuntimeParams).workers
    return images, PackedImages(PACKED, images, image_folder(), scratch_root(), workers=workers)


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
