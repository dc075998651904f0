"""Rows grouped by picture equal those of a scan per picture."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tris_core.data.grouping import RowsByImage


@settings(deadline=None)
@given(image_of=st.lists(st.integers(0, 9), max_size=40), images=st.integers(1, 5))
def test_groups_equal_a_scan_per_picture(image_of: list[int], images: int) -> None:
    groups = RowsByImage(np.array(image_of, np.int64), images)
    distinct = sorted(set(image_of))
    parts = [distinct[first : first + images] for first in range(0, len(distinct), images)]
    scans = [
        [row for image in part for row, of in enumerate(image_of) if of == image] for part in parts
    ]
    assert [rows.tolist() for rows in groups] == scans
    assert len(groups) == len(scans)


def test_a_number_out_of_range_is_an_index_error() -> None:
    groups = RowsByImage(np.array([3, 3, 1]))
    for number in (2, -1):
        with pytest.raises(IndexError):
            groups[number]
