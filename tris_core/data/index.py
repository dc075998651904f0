"""The index of a data set: its images, refs and expressions, as the stage `index` wrote them.

Masks and boxes are not part of it. They are in `tris_core.data.truth`, which no training reads.
"""

from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tris_core.runtime.parquet import read_table

Read = Callable[[str, Sequence[str]], pd.DataFrame]

COLUMNS = {
    "images": ("image_id", "path", "height", "width", "bytes"),
    "refs": ("ref_id", "image_id", "split"),
    "objects": ("ref_id", "image_id", "ann_id", "category_id", "category", "split"),
    "expressions": ("expression_id", "ref_id", "text"),
}


class Index:
    """The tables of an index. Each is read when it is first used.

    Args:
        read: returns the table "images", "refs" or "expressions" with the given columns.
    """

    def __init__(self, read: Read) -> None:
        self._read = read

    @staticmethod
    def open(folder: Path) -> "Index":
        """The index in `folder`. Raises `InputError` for a damaged file when its table is used."""
        return Index(lambda table, columns: read_table(folder / f"{table}.parquet", columns))

    @staticmethod
    def of(**tables: pd.DataFrame) -> "Index":
        """An index of tables in memory: images, refs and expressions, or those that are used."""
        return Index(lambda table, columns: tables[table].filter(items=columns))

    @cached_property
    def images(self) -> pd.DataFrame:
        """image_id, path (below the data set's root), height, width and bytes, by image_id."""
        return self._read("images", COLUMNS["images"])

    @cached_property
    def refs(self) -> pd.DataFrame:
        """ref_id, image_id and split, by ref_id."""
        return self._read("refs", COLUMNS["refs"])

    @cached_property
    def objects(self) -> pd.DataFrame:
        """`refs` with ann_id, category_id and category of their objects, which take more memory.

        A category or its id is missing where the annotations give none.
        """
        return self._read("refs", COLUMNS["objects"])

    @cached_property
    def expressions(self) -> pd.DataFrame:
        """expression_id, ref_id and text, by ref_id and expression_id."""
        return self._read("expressions", COLUMNS["expressions"])

    def joined(self) -> pd.DataFrame:
        """`expressions` in their order, with the image_id and split of their refs."""
        return self.expressions.merge(self.refs, on="ref_id", how="left", validate="many_to_one")

    def image_rows(self, image_ids: "pd.Series[int]") -> NDArray[np.int64]:
        """The row in `images` of each image id. Raises KeyError for an unknown id."""
        rows = pd.Series(np.arange(len(self.images)), index=self.images["image_id"])
        return rows.loc[image_ids].to_numpy(np.int64)

    def ref_ids(self, split: str) -> "pd.Series[int]":
        """The ids of a split's refs, ascending."""
        return self.refs.loc[self.refs["split"] == split, "ref_id"]
