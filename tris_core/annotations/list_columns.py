"""Reads the columns of a list in chunks into Arrow: a row costs only the bytes of its cells."""

import difflib
import reprlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tris_core.data.foreign import batches, csv_rows, open_foreign
from tris_core.data.image_files import PICTURES
from tris_core.runtime.errors import InputError

NEEDED = ("image", "sentence")
COLUMNS = (*NEEDED, "object", "split", "mask", "height", "width", "box")
CODED = ("image", "split", "object")  # columns with repeating values
TEXTS = ("image", "sentence", "split")
ROWS = 20_000  # rows of a CSV turned into Arrow at a time
LONGEST_TEXT = 5000  # letters; tokenising takes time quadratic in the length of a word


@dataclass(frozen=True)
class Coded:
    """A dictionary-encoded column: `codes` (rows,) int32 are positions in `values`."""

    codes: NDArray[np.int32]
    values: pa.StringArray

    def __getitem__(self, row: int) -> str:
        text: str = self.values[int(self.codes[row])].as_py()
        return text


@dataclass(frozen=True)
class Columns:
    """The cells of a list, by row. `object` and `split` are "" if the list has none.

    image, object, split   `Coded`; image names are stripped and normalised
    sentence               text, as written
    hashes                 (rows,) uint64, hashes of the sentences
    truth                  the columns mask, height, width and box that the list has; null if blank
    """

    image: Coded
    object: Coded
    split: Coded
    sentence: pa.ChunkedArray
    hashes: NDArray[np.uint64]
    truth: dict[str, pa.ChunkedArray]


def read_columns(path: Path) -> Columns:
    """Read a list in CSV or Parquet. Raises `InputError` for invalid columns or cells."""
    if not path.is_file():
        fix = "set dataset.annotations to a list under dataset.root"
        raise InputError(f"{path}: no such file; {fix}")
    if path.suffix not in (".csv", ".parquet"):
        fix = "set dataset.annotations to such a file under dataset.root"
        raise InputError(f"{path}: neither .csv nor .parquet; {fix}")
    start, chunks = 0, []
    for batch in _csv_batches(path) if path.suffix == ".csv" else _parquet_batches(path):
        chunks.append(_chunk(path, start, batch))
        start += batch.num_rows
    if not start:
        raise InputError(f"{path}: has no rows; list at least one image and sentence")
    hashes = np.concatenate([chunk.pop("hashes") for chunk in chunks])
    whole = {name: pa.chunked_array([chunk[name] for chunk in chunks]) for name in chunks[0]}
    del chunks
    coded = {name: _joined(whole.pop(name)) for name in CODED}
    return Columns(**coded, sentence=whole.pop("sentence"), hashes=hashes, truth=whole)


def _csv_batches(path: Path) -> Iterator[pa.RecordBatch]:
    rows = csv_rows(path)
    header = next(rows)
    _check_header(path, header)
    while chunk := list(islice(rows, ROWS)):
        cells = [pa.array(column, pa.string()) for column in zip(*chunk, strict=True)]
        yield pa.RecordBatch.from_arrays(cells, header)


def _parquet_batches(path: Path) -> Iterator[pa.RecordBatch]:
    file = open_foreign(path)
    names = file.schema_arrow.names
    _check_header(path, names)
    yield from batches(file, path, names)


def _check_header(path: Path, header: list[str]) -> None:
    if not header:
        raise InputError(f"{path}: is empty; write image,sentence in its first line")
    for column in header:
        if column not in COLUMNS:
            raise InputError(f"{path}: column {reprlib.repr(column)} is unknown; {_meant(column)}")
        if header.count(column) > 1:
            raise InputError(f"{path}: column {column!r} is there twice; remove one of them")
    for column in NEEDED:
        if column not in header:
            raise InputError(f"{path}: has no column {column!r}, only {', '.join(header)}; add it")


def _meant(column: str) -> str:
    """Guess what the author of an unknown column name meant, as a hint."""
    for name, mark in (("semicolons", ";"), ("tabs", "\t")):
        if mark in column:
            return f"the cells are separated by {name}; separate them by commas"
    if PurePosixPath(column).suffix.lower() in PICTURES:
        return "the first line names the columns: write image,sentence above it"
    if not column or column.startswith(("Unnamed: ", "__index_level_")):
        return "it is pandas' index: write the list with index=False"
    near = difflib.get_close_matches(column.strip().lower()[:100], COLUMNS, n=1, cutoff=0.75)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return f"{hint}the columns of a list are {', '.join(COLUMNS)}"


def _chunk(path: Path, start: int, batch: pa.RecordBatch) -> dict[str, Any]:
    """Check the columns of a batch that begins with row `start` (from 0).

    Returns:
        `CODED` as dictionary arrays, the hashes, and the other columns plain.
    """
    cells = {name: _plain(batch.column(name)) for name in batch.schema.names}
    for name in TEXTS:
        if name in cells:
            _check_text(path, start, name, cells[name])
    if "object" in cells:
        cells["object"] = _object_text(path, start, cells["object"])
    blank = pa.nulls(batch.num_rows, pa.string())
    sentence = cells["sentence"].cast(pa.string()).fill_null("")
    chunk = {
        "image": _coded(cells["image"], _file_name),
        "split": _coded(cells.get("split", blank), str.strip),
        "object": _coded(cells.get("object", blank), str),
        "sentence": sentence,
        "hashes": pd.util.hash_array(sentence.to_numpy(zero_copy_only=False), categorize=False),
    }
    empty = np.flatnonzero(pc.equal(chunk["image"].cast(pa.string()), ""))
    if len(empty):
        raise InputError(
            f"{path}: row {start + empty[0] + 1}: image is empty; name a file under dataset.root"
        )
    for name in ("mask", "height", "width", "box"):
        if name in cells:
            chunk[name] = _blank_as_null(cells[name])
    return chunk


def _plain(column: pa.Array) -> pa.Array:
    """Decode dictionary arrays. `tris_core.data.foreign` has bounded the memory that this takes."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_struct(column.type):
        fields = [_plain(field) for field in column.flatten()]
        names = [field.name for field in column.type]
        return pa.StructArray.from_arrays(fields, names, mask=column.is_null())
    return column.cast(pa.string()) if pa.types.is_large_string(column.type) else column


def _is_text(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_null(kind)


def _check_text(path: Path, start: int, name: str, cells: pa.Array) -> None:
    if not _is_text(cells.type):
        row, value = _first_value(cells)
        raise InputError(
            f"{path}: row {start + row + 1}: {name} is {reprlib.repr(value)}, expected text"
        )
    if pa.types.is_null(cells.type):
        return
    row = pc.index(pc.match_substring(cells, "\0"), True).as_py()
    if row >= 0:
        problem = f"{name} is {reprlib.repr(cells[row].as_py())}, which has a NUL character"
        raise InputError(f"{path}: row {start + row + 1}: {problem}; remove it")
    long = np.flatnonzero(pc.utf8_length(cells).fill_null(0).to_numpy() > LONGEST_TEXT)
    if len(long):
        value = cells[int(long[0])].as_py()
        size = f"{len(value):,} letters; at most {LONGEST_TEXT:,} are read"
        problem = f"{name} is {reprlib.repr(value)}, of {size}"
        fix = "look for a quote that is never closed"
        raise InputError(f"{path}: row {start + long[0] + 1}: {problem}; {fix}")


def _first_value(cells: pa.Array) -> tuple[int, Any]:
    row = int(np.flatnonzero(cells.is_valid())[0]) if cells.null_count < len(cells) else 0
    return row, cells[row].as_py()


def _object_text(path: Path, start: int, cells: pa.Array) -> pa.Array:
    if not _is_text(cells.type) and not pa.types.is_integer(cells.type):
        row, value = _first_value(cells)
        problem = f"object is {reprlib.repr(value)}, expected text or a whole number"
        raise InputError(f"{path}: row {start + row + 1}: {problem}")
    text = cells.cast(pa.string())
    _check_text(path, start, "object", text)
    return text


def _blank_as_null(cells: pa.Array) -> pa.Array:
    if not _is_text(cells.type) or pa.types.is_null(cells.type):
        return cells
    blank = pc.equal(pc.utf8_trim_whitespace(cells), "").fill_null(True)
    return pc.if_else(blank, None, cells)


def _file_name(cell: str) -> str:
    """Normalise a file name, so that ./a.jpg and a.jpg are one image."""
    return str(PurePosixPath(cell.strip())) if cell.strip() else ""


def _coded(cells: pa.Array, clean: Callable[[str], str]) -> pa.DictionaryArray:
    """Dictionary-encode cells as cleaned text, with null as ""."""
    coded = cells.cast(pa.string()).fill_null("").dictionary_encode()
    cleaned = pa.array(map(clean, coded.dictionary.to_pylist()), pa.string()).dictionary_encode()
    return pa.DictionaryArray.from_arrays(cleaned.indices.take(coded.indices), cleaned.dictionary)


def _joined(column: pa.ChunkedArray) -> Coded:
    """Unify the dictionaries of all chunks."""
    column = column.unify_dictionaries()
    codes = np.concatenate([chunk.indices.to_numpy() for chunk in column.chunks])
    return Coded(codes, column.chunk(0).dictionary)
