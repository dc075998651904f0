"""`data/responses.parquet`: the response map of every expression, in row groups that each hold all maps of some images.

Columns expression_id, ref_id, image_id, split; height and width of the map; map, row-major float32.
The metadata hold `size`, the side in pixels of the square images that the maps were made from.
Writer and reader hold one row group at a time.
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

from tris_core.runtime.parquet import open_table, table_writer

SCHEMA = pa.schema(
    [("expression_id", pa.int64()), ("ref_id", pa.int64()), ("image_id", pa.int64()), ("split", pa.string()),
     ("height", pa.int32()), ("width", pa.int32()), ("map", pa.list_(pa.float32()))]
)  # fmt: skip
SIZE = "size"


@contextmanager
def write_responses(
    path: Path, size: int
) -> Iterator[Callable[[pd.DataFrame, NDArray[np.float32]], None]]:
    """A function that writes the next row group: rows (expression_id, ref_id, image_id, split) and their maps (P, H, W).

    All rows of an image belong into one call. The file appears when the block ends without error.
    """
    with table_writer(path, SCHEMA) as writer:
        writer.add_key_value_metadata({SIZE: str(size)})

        def write(rows: pd.DataFrame, maps: NDArray[np.float32]) -> None:
            writer.write_table(
                pa.Table.from_pandas(with_maps(rows, maps), SCHEMA, preserve_index=False)
            )

        yield write


class ResponseFile(Sequence[pd.DataFrame]):
    """The row groups of a file, each read when it is looked at; `expression_ids` selects rows.

    `size`: the side in pixels of the squares that the maps were made from.
    """

    def __init__(self, path: Path, expression_ids: "pd.Series[int] | None" = None) -> None:
        self._file = open_table(path)
        self.size = int(self._file.metadata.metadata[SIZE.encode()])
        self._wanted = None if expression_ids is None else pd.Index(expression_ids)

    def __len__(self) -> int:
        return self._file.num_row_groups

    def __getitem__(self, number: int) -> pd.DataFrame:  # type: ignore[override]
        if not 0 <= number < len(self):
            raise IndexError(number)
        rows = self._file.read_row_group(number).to_pandas()
        return (
            rows
            if self._wanted is None
            else rows[self._wanted.get_indexer(rows["expression_id"]) >= 0]
        )


def with_maps(rows: pd.DataFrame, maps: NDArray[np.float32]) -> pd.DataFrame:
    """`rows` with the columns height, width and map, from their maps (N, H, W)."""
    return rows.assign(
        height=maps.shape[1], width=maps.shape[2], map=list(maps.reshape(len(maps), -1))
    )


def raw_maps(rows: pd.DataFrame) -> Tensor:
    """The maps (N, H, W) float32 of rows of the file, all of one size."""
    return torch.from_numpy(np.stack(rows["map"].to_list())).view(
        len(rows), rows["height"].iloc[0], -1
    )
