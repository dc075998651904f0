"""Two pandas helpers: joining many small tables, and look-ups from several threads."""

from collections.abc import Iterable
from itertools import islice
from typing import Any

import pandas as pd


def concat(frames: Iterable[pd.DataFrame], block: int = 1000) -> pd.DataFrame:
    """`pd.concat` of an iterable of at least one frame. Rows are renumbered.

    A frame takes kilobytes whatever its contents, so frames are joined in blocks of `block` and
    never all kept.
    """
    frames, blocks = iter(frames), []
    while part := list(islice(frames, block)):
        blocks.append(pd.concat(part, ignore_index=True))
    return pd.concat(blocks, ignore_index=True)


def ready(*tables: "pd.DataFrame | pd.Series[Any]") -> None:
    """Build the hash tables of pandas indexes before threads look rows up.

    pandas builds them at the first look-up. Another thread may see a half-built table and miss
    rows.
    """
    for table in tables:
        for axis in table.axes:
            if len(axis):
                axis.get_loc(axis[0])
