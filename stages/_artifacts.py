"""Paths of all artifacts, as in dvc.yaml, relative to the working directory; and their readers."""

from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from stages._stage import Run, remake
from tris_core.runtime.errors import InputError
from tris_core.runtime.params import DatasetParams
from tris_core.runtime.parquet import open_table, read_table
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


def check_keys(*paths: Path) -> None:
    """Raise `InputError` unless each table has the keys (`KEYS`) that the index requires."""
    for path in paths:
        found, expected = _columns(path, KEYS[path]), _expected(path)
        found = found.cast(expected.schema).sort_by(KEYS[path][0])
        if not found.equals(expected):
            source = EXPRESSIONS if "expression_id" in KEYS[path] else REFS
            problem = f"not of {source}, {_difference(found, expected)}"
            raise InputError(f"{path}: {problem}; run {remake(path)}")


def _expected(path: Path) -> pa.Table:
    """The keys of a table according to the index, sorted by the first."""
    keys = KEYS[path]
    table = _columns(REFS, ("ref_id", "image_id", "split"))
    if path in (CRF_SEEDS, PSEUDO_LABELS):
        table = table.filter(pc.field("split") == "train")
    if path == STEP1_RECORDS:
        true = _columns(TRUTH, ("ref_id",))["ref_id"].combine_chunks()
        table = table.filter(pc.field("ref_id").isin(true))
    if "expression_id" in keys:
        expressions = _columns(EXPRESSIONS, ("expression_id", "ref_id"))
        table = expressions.join(table, "ref_id", join_type="inner")
    if "height" in keys:
        sizes = _columns(IMAGES, ("image_id", "height", "width"))
        table = table.join(sizes, "image_id", join_type="inner")
    return table.select(list(keys)).sort_by(keys[0])


def _columns(path: Path, names: tuple[str, ...]) -> pa.Table:
    with open_table(path) as file:
        return file.read(list(names))


def _difference(found: pa.Table, expected: pa.Table) -> str:
    """The first difference of two tables, in words."""
    if found.num_rows != expected.num_rows:
        return f"which asks for {expected.num_rows} rows where it has {found.num_rows}"
    differs = [
        pc.not_equal(found[name], expected[name]).fill_null(True) for name in found.column_names
    ]
    row = min(at for at in (pc.index(column, True).as_py() for column in differs) if at >= 0)
    return f"which says {_shown(expected, row)} where it says {_shown(found, row)}"


def _shown(table: pa.Table, row: int) -> str:
    return " ".join(f"{name} {table[name][row]}" for name in table.column_names)
