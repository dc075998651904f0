"""Tables made elsewhere that take the place of a stage's own: checked against the index before anything uses them."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from tris_core.data.foreign import open_foreign, read_foreign, value_type
from tris_core.data.rle import check
from tris_core.runtime.errors import InputError


def supplied_responses(path: Path, expressions: pd.DataFrame) -> pd.DataFrame:
    """Response maps of every expression, in the order of `expressions`: expression_id, height, width, map (float32).

    Raises `InputError` if an expression is missing, twice or unknown, or if a map is not of its size, not of the others' size
    or not finite.
    """
    table = _read(
        path,
        {
            "expression_id": "integers",
            "height": "integers",
            "width": "integers",
            "map": "lists of floats",
        },
    )
    _once(path, table["expression_id"], expressions["expression_id"], "expression_id")
    sizes = table[["height", "width"]].drop_duplicates()
    if len(sizes) > 1 or sizes.to_numpy().min() < 1:
        raise InputError(
            f"{path}: maps must be of one size, found (height, width) {sizes.to_numpy()[:3].tolist()}"
        )
    height, width = (int(side) for side in sizes.to_numpy()[0])
    lengths = table["map"].map(len)
    _first(
        path,
        table["expression_id"],
        lengths != height * width,
        f"its map has not {height} x {width} values",
        lengths,
    )
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, and is refused
        values = np.stack(table["map"].to_list()).astype(np.float32)
    _first(
        path,
        table["expression_id"],
        ~np.isfinite(values).all(1),
        "its map holds values that are not finite",
    )
    table = (
        table.assign(map=list(values)).set_index("expression_id").loc[expressions["expression_id"]]
    )
    return table.reset_index()


def supplied_labels(path: Path, refs: pd.DataFrame, images: pd.DataFrame) -> pd.DataFrame:
    """Pseudo-labels of every training ref, sorted: ref_id, height, width, counts (bytes, COCO run-length code).

    `refs` has ref_id, image_id and split, `images` image_id, height and width. Raises `InputError` if a training ref is missing
    or twice, if another ref has a label, or if a mask is not of its image's size.
    """
    table = _read(
        path, {"ref_id": "integers", "height": "integers", "width": "integers", "counts": "bytes"}
    )
    train = refs[refs["split"] == "train"]
    _once(path, table["ref_id"], train["ref_id"], "training ref_id")
    table = table.sort_values("ref_id", ignore_index=True)
    size_of = images.set_index("image_id")[["height", "width"]]
    true = size_of.loc[train.set_index("ref_id").loc[table["ref_id"], "image_id"]].to_numpy()
    wrong = (table[["height", "width"]].to_numpy() != true).any(1)
    _first(path, table["ref_id"], wrong, "its height and width are not its image's", true.tolist())
    for ref_id, counts, (height, width) in zip(table["ref_id"], table["counts"], true, strict=True):
        try:
            check(counts, int(height), int(width))
        except ValueError as error:
            raise InputError(
                f"{path}: ref_id {ref_id}: its counts are not COCO's compressed run-length code ({error})"
            ) from error
    return table


def _read(path: Path, columns: dict[str, str]) -> pd.DataFrame:
    """The columns, of the kinds asked for and without gaps; the first one is the id that messages name."""
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
    twice, missing = found[found.duplicated()], expected[~expected.isin(found)]
    unknown = found[~found.isin(expected)]
    for values, fault in ((twice, "twice"), (missing, "missing"), (unknown, "not in the index")):
        if len(values):
            raise InputError(
                f"{path}: {len(values)} {what} {fault}, the first is {values.iloc[0]}; make the file from this index"
            )


def _first(
    path: Path,
    ids: "pd.Series[int]",
    wrong: Any,
    fault: str,
    values: Iterable[object] | None = None,
) -> None:
    """Raise `InputError` for the first row that is `wrong`, with its id and value."""
    rows = np.flatnonzero(np.asarray(wrong))
    if len(rows):
        shown = "" if values is None else f" ({list(values)[rows[0]]})"
        raise InputError(f"{path}: row {rows[0]}, {ids.name} {ids.iloc[rows[0]]}: {fault}{shown}")
