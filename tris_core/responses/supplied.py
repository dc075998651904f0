"""Response maps and pseudo-labels made elsewhere, checked against the index before use."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from tris_core.data.foreign import open_foreign, read_foreign, value_type
from tris_core.data.index import Index
from tris_core.data.rle import check
from tris_core.runtime.errors import InputError

RESPONSES = {
    "expression_id": "integers",
    "height": "integers",
    "width": "integers",
    "map": "lists of floats",
}
LABELS = {"ref_id": "integers", "height": "integers", "width": "integers", "counts": "bytes"}


def supplied_responses(path: Path, expressions: pd.DataFrame) -> pd.DataFrame:
    """Read response maps of all expressions.

    Args:
        path: a Parquet file with the columns expression_id, height, width and map.
        expressions: the column expression_id gives the order of the result.

    Returns:
        expression_id, height, width, map (float32), in the order of `expressions`.

    Raises:
        InputError: if an expression is missing, repeated or unknown, if maps differ in size, or
            if a map has the wrong number of values or values that are not finite.
    """
    table = _read(path, RESPONSES)
    ids = table["expression_id"]
    _once(path, ids, expressions["expression_id"], "expression_id")
    sizes = table[["height", "width"]].drop_duplicates()
    if len(sizes) > 1 or sizes.to_numpy().min() < 1:
        found = sizes.to_numpy()[:3].tolist()
        raise InputError(f"{path}: maps must be of one size, found (height, width) {found}")
    height, width = (int(side) for side in sizes.to_numpy()[0])
    lengths = table["map"].map(len)
    short = f"its map does not have {height} x {width} values"
    _first(path, ids, lengths != height * width, short, lengths)
    with np.errstate(over="ignore"):  # values too large for float32 become infinite, an error below
        values = np.stack(table["map"].to_list()).astype(np.float32)
    infinite = "its map has values that are not finite"
    _first(path, ids, ~np.isfinite(values).all(1), infinite)
    table = table.assign(map=list(values)).set_index("expression_id")
    return table.loc[expressions["expression_id"]].reset_index()


def supplied_labels(path: Path, index: Index) -> pd.DataFrame:
    """Read pseudo-labels of all training refs.

    Args:
        path: a Parquet file with the columns ref_id, height, width and counts.

    Returns:
        ref_id, height, width, counts (bytes, COCO run-length code), sorted by ref_id.

    Raises:
        InputError: if a training ref is missing or repeated, if another ref has a label, or if a
            mask does not have the size of its image.
    """
    table = _read(path, LABELS)
    _once(path, table["ref_id"], index.ref_ids("train"), "training ref_id")
    table = table.sort_values("ref_id", ignore_index=True)
    images = index.refs.set_index("ref_id").loc[table["ref_id"], "image_id"]
    size_of = index.images.set_index("image_id")[["height", "width"]]
    true = size_of.loc[images].to_numpy()
    wrong = (table[["height", "width"]].to_numpy() != true).any(1)
    _first(path, table["ref_id"], wrong, "its height and width are not its image's", true.tolist())
    for ref_id, counts, (height, width) in zip(table["ref_id"], table["counts"], true, strict=True):
        try:
            check(counts, int(height), int(width))
        except ValueError as error:
            problem = f"its counts are not COCO's compressed run-length code ({error})"
            raise InputError(f"{path}: ref_id {ref_id}: {problem}") from error
    return table


def _read(path: Path, columns: dict[str, str]) -> pd.DataFrame:
    """Read columns of the given types, without missing values.

    The first column is the id that error messages name.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file; correct the path, or set it to null")
    file = open_foreign(path)
    schema = file.schema_arrow
    for name, kind in columns.items():
        if name not in schema.names:
            raise InputError(f"{path}: has no column {name}; found {', '.join(schema.names[:20])}")
        found = value_type(schema.field(name).type)
        if not _KINDS[kind](found):
            raise InputError(f"{path}: column {name} is {found}, expected {kind}")
    table = read_foreign(file, path, list(columns)).to_pandas()
    ids = table[next(iter(columns))]
    for name in columns:
        _first(path, ids, table[name].isna(), f"its {name} is missing")
    return table


def _is_list_of_floats(kind: pa.DataType) -> bool:
    lists = (
        pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    )
    return lists and pa.types.is_floating(kind.value_type)


_KINDS: dict[str, Callable[[pa.DataType], bool]] = {
    "integers": pa.types.is_integer,
    "lists of floats": _is_list_of_floats,
    "bytes": lambda kind: pa.types.is_binary(kind) or pa.types.is_large_binary(kind),
}


def _once(path: Path, found: "pd.Series[int]", expected: "pd.Series[int]", what: str) -> None:
    """Raise `InputError` unless `found` has every expected id once, and no other."""
    twice, missing = found[found.duplicated()], expected[~expected.isin(found)]
    unknown = found[~found.isin(expected)]
    for values, fault in ((twice, "twice"), (missing, "missing"), (unknown, "not in the index")):
        if len(values):
            found = f"{len(values)} {what} {fault}, the first is {values.iloc[0]}"
            raise InputError(f"{path}: {found}; make the file from this index")


def _first(
    path: Path,
    ids: "pd.Series[int]",
    wrong: Any,
    fault: str,
    values: Iterable[object] | None = None,
) -> None:
    """Raise `InputError` for the first wrong row, with its id and value."""
    rows = np.flatnonzero(np.asarray(wrong))
    if len(rows):
        shown = "" if values is None else f" ({list(values)[rows[0]]})"
        raise InputError(f"{path}: row {rows[0]}, {ids.name} {ids.iloc[rows[0]]}: {fault}{shown}")
