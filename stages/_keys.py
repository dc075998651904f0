"""Checks that tables of earlier stages belong to the current index.

DVC guarantees this, but someone who runs stages by hand may have rebuilt the index in between.
"""

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from stages._artifacts import (
    CRF_SEEDS,
    EXPRESSIONS,
    IMAGES,
    PREDICTIONS,
    PRMS,
    PSEUDO_LABELS,
    REFS,
    RESPONSES,
    STEP1_RECORDS,
    TOKENS,
    TRUTH,
)
from stages._stage import remake
from tris_core.runtime.errors import InputError
from tris_core.runtime.parquet import open_table

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
