"""The pipeline's own tables. Every file carries a SHA-256 of its bytes, which whoever reads it checks."""

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
    """A writer of row groups. The file appears, sealed, when the block ends without error. Equal tables give equal bytes."""
    with replacing(path) as temporary:
        schema = schema.remove_metadata()  # pandas' own names its version
        with pq.ParquetWriter(temporary, schema, write_page_checksum=True) as writer:
            writer.add_key_value_metadata({"seal": NO_SEAL})
            yield writer
        seal(temporary)


def write_table(path: Path, table: pd.DataFrame | pa.Table) -> None:
    """Write a whole table; the index of a frame is left out."""
    if isinstance(table, pd.DataFrame):
        table = pa.Table.from_pandas(table, preserve_index=False)
    table = table.replace_schema_metadata(None)
    with table_writer(path, table.schema) as writer:
        writer.write_table(table)


def open_table(path: Path) -> pq.ParquetFile:
    """The file, to be read by row groups. Raises `InputError` if a bit of it changed since it was written."""
    check_seal(path, FIX)
    return pq.ParquetFile(path, page_checksum_verification=True)


def read_table(path: Path, columns: Sequence[str] | None = None) -> pd.DataFrame:
    """The whole table, or some columns of it. Raises as `open_table` does."""
    with open_table(path) as file:
        return file.read(columns and list(columns)).to_pandas()
