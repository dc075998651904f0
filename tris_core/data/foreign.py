"""Reads tables written by others: CSV row by row, Parquet in batches of bounded memory."""

import csv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tris_core.data.rle import MOST_COUNTS
from tris_core.runtime.errors import InputError
from tris_core.runtime.files import check_seal, has_seal

LONGEST_CELL = MOST_COUNTS + 1000  # characters of a CSV cell: the longest mask with its JSON
# A Parquet file may unpack to ROOM bytes, plus PROPORTION for each of its own.
ROOM, PROPORTION = 2**28, 16
MOST_ROWS = 10**6  # plus one for each byte of the file
BATCH_BYTES, BATCH_ROWS = 2**24, 2**15
WIDTHS = {"BOOLEAN": 1, "INT32": 4, "INT64": 8, "INT96": 12, "FLOAT": 4, "DOUBLE": 8}
INDEX = 4  # bytes of a text's position in its dictionary


def csv_rows(path: Path) -> Iterator[list[str]]:
    """Yield the header of a CSV file in UTF-8, then its rows without blank lines.

    Raises `InputError`, with the row's number (from 1, without the header), if a row has another
    number of cells than the header, a cell is longer than `LONGEST_CELL`, or the file is not CSV.
    """
    number = 0
    try:
        with _field_limit(LONGEST_CELL), path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            header = next(reader, [])
            yield header
            for row in reader:
                if not row:
                    continue
                number += 1
                if len(row) != len(header):
                    cells = f"has {len(row)} cells, the header {len(header)}"
                    raise InputError(f"{path}: row {number}: {cells}; quote cells with commas")
                yield row
    except csv.Error as error:
        where = f"{path}: row {number + 1}: cannot be read ({error})"
        if "field limit" in str(error) or "unexpected end" in str(error):
            raise InputError(f"{where}; look for a quote that is never closed") from error
        raise InputError(f"{where}; write it again, as CSV in UTF-8") from error
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"{path}: cannot be read ({error}); write it again, CSV in UTF-8"
        ) from error


@contextmanager
def _field_limit(characters: int) -> Iterator[None]:
    """Set the csv module's limit, which is global to the process."""
    before = csv.field_size_limit(characters)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def open_foreign(path: Path) -> pq.ParquetFile:
    """Open a Parquet file. Texts are read as dictionaries, so a repeated value is in memory once.

    Raises `InputError` if it is not a Parquet file, or a damaged one of this program. Read it with
    `batches`.
    """
    if path.is_file() and has_seal(path):
        check_seal(path, "write it again")
    try:
        metadata = pq.read_metadata(path)
        leaves = [metadata.schema.column(i) for i in range(metadata.num_columns)]
        texts = [leaf.path for leaf in leaves if leaf.physical_type == "BYTE_ARRAY"]
        return pq.ParquetFile(path, metadata=metadata, read_dictionary=texts)
    except (OSError, UnicodeDecodeError, pa.ArrowException) as error:
        raise InputError(f"{path}: not a Parquet file ({error})") from error


def batches(file: pq.ParquetFile, path: Path, columns: list[str]) -> Iterator[pa.RecordBatch]:
    """Yield the rows of some columns, a few megabytes at a time. Texts are dictionary arrays.

    Raises `InputError` if the file is damaged, or unpacks to more than `ROOM` bytes plus
    `PROPORTION` times its size.
    """
    size = path.stat().st_size
    per_row = _check_metadata(file.metadata, path, columns, size)
    rows = min(BATCH_ROWS, max(1, BATCH_BYTES // max(1, per_row)))
    unpacked = 0
    try:
        for batch in file.iter_batches(rows, columns=columns):
            batch.validate(full=True)
            unpacked += sum(map(unpacked_bytes, batch.columns))
            _check_room(path, size, unpacked)
            yield batch
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{path}: damaged, cannot be read ({error}); write it again") from error


def _check_metadata(metadata: pq.FileMetaData, path: Path, columns: list[str], size: int) -> int:
    """Check the rows and bytes that the footer promises before reading; return bytes per row."""
    if metadata.num_rows > MOST_ROWS + size:
        problem = f"has {metadata.num_rows:,} rows in {size:,} bytes"
        limit = f"at most {MOST_ROWS:,} and one for each byte are read"
        raise InputError(f"{path}: {problem}; {limit}: split the file, or write it as CSV")
    wanted = [
        metadata.schema.column(i).path.split(".")[0] in columns for i in range(metadata.num_columns)
    ]
    total = 0
    for group in (metadata.row_group(i) for i in range(metadata.num_row_groups)):
        for i, read in enumerate(wanted):
            if read:
                leaf = group.column(i)
                values = leaf.num_values * WIDTHS.get(leaf.physical_type, INDEX)
                total += max(values, leaf.total_uncompressed_size)
    _check_room(path, size, total)
    return total // max(1, metadata.num_rows)


def _check_room(path: Path, size: int, unpacked: int) -> None:
    room = ROOM + PROPORTION * size
    if unpacked > room:
        allowed = f"{room:,} are allowed for a file of {size:,}"
        problem = f"unpacks to {unpacked:,} bytes or more, {allowed}"
        fix = "split it, or write it without compression and dictionaries"
        raise InputError(f"{path}: {problem}; {fix}")


def unpacked_bytes(column: pa.Array) -> int:
    """Bytes of an array with every value written out."""
    if pa.types.is_dictionary(column.type):
        if not pa.types.is_null(column.dictionary.type) and len(column.dictionary):
            lengths = pc.binary_length(column.dictionary).cast(pa.int64())
            return int(pc.sum(lengths.take(column.indices)).as_py() or 0)
        return 0
    if pa.types.is_struct(column.type):
        return sum(map(unpacked_bytes, column.flatten()))
    if pa.types.is_nested(column.type):
        return unpacked_bytes(column.flatten())
    return int(column.nbytes)


def read_foreign(file: pq.ParquetFile, path: Path, columns: list[str]) -> pa.Table:
    """Read whole columns with their texts written out, as large as `batches` permits."""
    schema = file.schema_arrow
    plain = pa.schema([(name, value_type(schema.field(name).type)) for name in columns])
    return pa.Table.from_batches(
        [batch.cast(plain) for batch in batches(file, path, columns)], plain
    )


def value_type(kind: pa.DataType) -> pa.DataType:
    """The type of a column's values, whether or not it is dictionary-encoded."""
    return kind.value_type if pa.types.is_dictionary(kind) else kind
