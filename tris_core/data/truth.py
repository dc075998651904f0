"""The ground truth: box and mask of every ref that has them. Evaluation and drawings read it.

Training opens it in one case only, to choose an epoch by val masks
(docs/paper_vs_code.md#selection).
"""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tris_core.data.rle import decode
from tris_core.runtime.frames import ready
from tris_core.runtime.parquet import read_table

CORNERS = ("x0", "y0", "x1", "y1")


class Truth:
    """True boxes and masks by ref_id. Lookups are safe from several threads.

    Args:
        table: columns ref_id; x0, y0, x1, y1, the first box in pixels; area, the mask's pixels;
            height and width of the image; counts, the mask in compressed runs
            (`tris_core.data.rle`). more_boxes, only where a ref has several: the others, four
            numbers each.
    """

    def __init__(self, table: pd.DataFrame) -> None:
        self._table = table.set_index("ref_id")
        ready(self._table)

    @staticmethod
    def open(path: Path) -> "Truth":
        """The truth of a file. Raises `InputError` if the file is damaged."""
        return Truth(read_table(path))

    def __len__(self) -> int:
        return len(self._table)

    def __contains__(self, ref_id: int) -> bool:
        return ref_id in self._table.index

    def covers(self, ref_ids: "pd.Series[int]") -> "pd.Series[bool]":
        """Which of the refs have a true mask; indexed as `ref_ids`."""
        return ref_ids.isin(self._table.index)

    @property
    def sizes(self) -> pd.DataFrame:
        """height and width of the image in pixels, by ref_id."""
        return self._table[["height", "width"]]

    @property
    def area_share(self) -> "pd.Series[float]":
        """The share of its image that a mask covers, in [0, 1], by ref_id."""
        return self._table["area"] / self._pixels

    @property
    def box_share(self) -> "pd.Series[float]":
        """The share of its image that the first box covers, by ref_id."""
        x0, y0, x1, y1 = (self._table[corner] for corner in CORNERS)
        return (x1 - x0) * (y1 - y0) / self._pixels

    @property
    def _pixels(self) -> "pd.Series[int]":
        return self._table["height"] * self._table["width"]

    def size(self, ref_id: int) -> tuple[int, int]:
        """Height and width of a ref's image in pixels. Raises KeyError as `mask` does."""
        return int(self._table.at[ref_id, "height"]), int(self._table.at[ref_id, "width"])

    def mask(self, ref_id: int) -> NDArray[np.bool_]:
        """The mask (H, W) of a ref. Raises KeyError for a ref without one."""
        height, width = self.size(ref_id)
        return decode(self._table.at[ref_id, "counts"], height, width)

    def masks(self, ref_ids: Iterable[int]) -> NDArray[np.bool_]:
        """The masks (N, H, W) of N >= 1 refs of one image. Raises KeyError as `mask` does."""
        return np.stack([self.mask(ref_id) for ref_id in ref_ids])

    def boxes(self, ref_ids: Iterable[int]) -> NDArray[np.float64]:
        """All boxes (N, M, 4) of refs, x0, y0, x1, y1 in pixels. Raises KeyError as `mask` does.

        M is the most that one of them has; refs with fewer repeat their first.
        """
        found = [self._boxes_of(ref_id) for ref_id in ref_ids]
        most = max(map(len, found), default=1)
        padded = [boxes + boxes[:1] * (most - len(boxes)) for boxes in found]
        return np.array(padded, np.float64).reshape(len(found), most, 4)

    def _boxes_of(self, ref_id: int) -> list[list[float]]:
        first = [self._table.at[ref_id, corner] for corner in CORNERS]
        more = self._table.at[ref_id, "more_boxes"] if "more_boxes" in self._table else None
        return [first] if more is None else [first, *np.reshape(more, (-1, 4)).tolist()]

    def encoded(self, ref_ids: "pd.Series[int]") -> pd.DataFrame:
        """ref_id, height, width and counts of the refs, in their order. Raises KeyError."""
        return self._table.loc[ref_ids, ["height", "width", "counts"]].reset_index()
