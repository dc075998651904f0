"""The pipeline's own tables. Each file contains its SHA-256, which is checked on reading."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from tris_core.runtime.files import NO_SEAL, check_seal, replacing, seal

FIX = "make it again: `dvc repro -f` with the stage that writes it"


@contextmanager
def table_writer(path: Path, schema: pa.Schema) -> Iterator[pq.ParquetWriter]:
    """A writer of row groups. The sealed file appears if the block ends without an error.

    Equal tables give equal bytes.
    """
    with replacing(path) as temporary:
        schema = schema.remove_metadata()  # pandas' metadata contains its version
        with pq.ParquetWriter(temporary, schema, write_page_checksum=True) as writer:
            writer.add_key_value_metadata({"seal": NO_SEAL})
            yield writer
        seal(temporary)


def write_table(path: Path, table: pd.DataFrame | pa.Table) -> None:
    """Write a whole table, without the index of a frame."""
    if isinstance(table, pd.DataFrame):
        table = pa.Table.from_pandas(table, preserve_index=False)
    table = table.replace_schema_metadata(None)
    with table_writer(path, table.schema) as writer:
        writer.write_table(table)


def open_table(path: Path) -> pq.ParquetFile:
    """Open a table for reading by row group. Raises `InputError` if its bytes have changed."""
    check_seal(path, FIX)
    return pq.ParquetFile(path, page_checksum_verification=True)


def read_table(path: Path, columns: Sequence[str] | None = None) -> pd.DataFrame:
    """Read all columns or some. Raises `InputError` if the file's bytes have changed."""
    with open_table(path) as file:
        names = columns and list(columns)
        if file.num_row_groups < 2:
            return file.read(names).to_pandas()
        # Group by group: equal strings of a group become one, and what finds them takes memory.
        groups = range(file.num_row_groups)
        frames = [file.read_row_group(group, names).to_pandas() for group in groups]
        return pd.concat(frames, ignore_index=True)
