"""Joining tables in blocks gives the same table and takes less memory."""

import weakref
from collections.abc import Iterator

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tris_core.runtime.frames import concat


@settings(deadline=None)
@given(lengths=st.lists(st.integers(0, 3), min_size=1, max_size=20), block=st.integers(1, 25))
def test_blocks_equal_one_concatenation(lengths: list[int], block: int) -> None:
    frames = [
        pd.DataFrame({"a": range(n), "b": [f"{n} {i}" for i in range(n)]}).astype(
            {"a": "int32", "b": "str"}
        )
        for n in lengths
    ]
    pd.testing.assert_frame_equal(concat(iter(frames), block), pd.concat(frames, ignore_index=True))


def test_frames_are_not_kept() -> None:
    alive: list[weakref.ref[pd.DataFrame]] = []
    most = 0

    def frames() -> Iterator[pd.DataFrame]:
        nonlocal most
        for number in range(100):
            frame = pd.DataFrame({"a": [number]})
            alive.append(weakref.ref(frame))
            yield frame
            del frame
            most = max(most, sum(one() is not None for one in alive))

    assert concat(frames(), block=10)["a"].tolist() == list(range(100))
    assert most <= 20


def test_joining_nothing_is_an_error() -> None:
    with pytest.raises(ValueError, match="No objects"):
        concat([])
