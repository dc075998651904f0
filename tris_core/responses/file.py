"""The file of response maps, `data/responses.parquet`.

Columns: expression_id, ref_id, image_id, split; height and width of the map; map, row-major
float32. All maps of an image are in one row group, and only one row group is in memory at a time.
The metadata has `size`, the side in pixels of the square images that the maps were made from.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor

from tris_core.runtime.errors import InputError
from tris_core.runtime.parquet import FIX, open_table, table_writer

SCHEMA = pa.schema(
    {
        "expression_id": pa.int64(),
        "ref_id": pa.int64(),
        "image_id": pa.int64(),
        "split": pa.string(),
        "height": pa.int32(),
        "width": pa.int32(),
        "map": pa.list_(pa.float32()),
    }
)
SIZE = "size"


Write = Callable[[pd.DataFrame, NDArray[np.float32]], None]


@contextmanager
def write_responses(path: Path, size: int) -> Iterator[Write]:
    """Write a file of response maps. It appears when the block ends without error.

    Args:
        size: the side in pixels of the square images that the maps were made from.

    Yields:
        A function that writes the next row group, from all rows of some images (expression_id,
        ref_id, image_id, split) and their maps (P, H, W).
    """
    with table_writer(path, SCHEMA) as writer:
        writer.add_key_value_metadata({SIZE: str(size)})

        def write(rows: pd.DataFrame, maps: NDArray[np.float32]) -> None:
            table = with_maps(rows, maps)
            writer.write_table(pa.Table.from_pandas(table, SCHEMA, preserve_index=False))

        yield write


class ResponseFile(Sequence[pd.DataFrame]):
    """The row groups of a file of response maps, each read on access.

    Args:
        expression_ids: the rows to keep; all if None.

    Attributes:
        size: the side in pixels of the square images that the maps were made from.
    """

    def __init__(self, path: Path, expression_ids: "pd.Series[int] | None" = None) -> None:
        self._file = open_table(path)
        stored = self._file.metadata.metadata.get(SIZE.encode())
        if stored is None:
            raise InputError(f"{path}: does not say the size of its images; {FIX}")
        self.size = int(stored)
        self._wanted = None if expression_ids is None else pd.Index(expression_ids)

    def __len__(self) -> int:
        return self._file.num_row_groups

    def __getitem__(self, number: int) -> pd.DataFrame:  # type: ignore[override]
        if not 0 <= number < len(self):
            raise IndexError(number)
        rows = self._file.read_row_group(number).to_pandas()
        if self._wanted is None:
            return rows
        return rows[self._wanted.get_indexer(rows["expression_id"]) >= 0]


def with_maps(rows: pd.DataFrame, maps: NDArray[np.float32]) -> pd.DataFrame:
    """`rows` with the columns height, width and map, from their maps (N, H, W)."""
    _, height, width = maps.shape
    return rows.assign(height=height, width=width, map=list(maps.reshape(len(maps), -1)))


def raw_maps(rows: pd.DataFrame) -> Tensor:
    """The maps (N, H, W) float32 of rows of the file, all of one size, before ReLU."""
    values = torch.from_numpy(np.stack(rows["map"].to_list()))
    return values.view(len(rows), rows["height"].iloc[0], -1)
