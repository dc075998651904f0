"""Two helpers for pandas: joining many small tables, and look-ups from threads."""

from collections.abc import Iterable
from itertools import islice
from typing import Any

import pandas as pd


def concat(frames: Iterable[pd.DataFrame], block: int = 1000) -> pd.DataFrame:
    """`pd.concat` of frames as they come, at least one, with rows numbered anew.

    A frame takes kilobytes whatever it holds, so they are joined `block` at a time and never all kept.
    """
    frames, blocks = iter(frames), []
    while part := list(islice(frames, block)):
        blocks.append(pd.concat(part, ignore_index=True))
    return pd.concat(blocks, ignore_index=True)


def ready(*tables: "pd.DataFrame | pd.Series[Any]") -> None:
    """Build the hash tables of pandas indexes, before threads look rows up.

    pandas builds them at the first look-up; another thread that looks up meanwhile finds them half-built and a row missing.
    """
    for table in tables:
        for axis in table.axes:
            if len(axis):
                axis.get_loc(axis[0])
