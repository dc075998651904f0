"""The file of response maps: a round trip by row groups, in constant memory."""

import tracemalloc
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tris_core.data.grouping import RowsByImage
from tris_core.responses.file import SCHEMA, ResponseFile, raw_maps, write_responses


def write(
    path: Path, image_of: np.ndarray, images: int, side: int = 2
) -> tuple[pd.DataFrame, np.ndarray]:
    rows = pd.DataFrame(
        {
            "expression_id": np.arange(len(image_of)) + 100,
            "ref_id": image_of,
            "image_id": image_of,
            "split": "val",
        }
    )
    maps = np.random.default_rng(0).normal(size=(len(rows), side, side)).astype(np.float32)
    with write_responses(path, 320) as add:
        for part in RowsByImage(image_of, images):
            add(rows.iloc[part], maps[part])
    return rows, maps


@settings(max_examples=20, deadline=None)
@given(
    image_of=st.lists(st.integers(0, 6), min_size=1, max_size=30),
    images=st.integers(1, 8),
    data=st.data(),
)
def test_rows_and_maps_come_back_by_image(
    image_of: list[int], images: int, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("responses") / "responses.parquet"
    rows, maps = write(path, np.array(image_of), images)
    wanted = data.draw(st.sets(st.sampled_from(rows["expression_id"].tolist())))
    file = ResponseFile(path)
    assert file.size == 320
    assert len(file) == -(-len(set(image_of)) // images)
    assert [group["image_id"].nunique() <= images for group in file] == [True] * len(file)
    assert sum(len(set(group["image_id"])) for group in file) == len(
        set(image_of)
    )  # no image is split
    whole = pd.concat(list(file))
    assert list(whole.columns) == SCHEMA.names
    np.testing.assert_array_equal(raw_maps(whole).numpy(), maps[whole["expression_id"] - 100])
    assert sorted(whole["expression_id"]) == rows["expression_id"].tolist()
    some = [
        i
        for group in ResponseFile(path, pd.Series(sorted(wanted), dtype=int))
        for i in group["expression_id"]
    ]
    assert sorted(some) == sorted(wanted)


def test_reading_takes_no_more_memory_for_more_expressions(tmp_path: Path) -> None:
    peaks = []
    for images in (40, 400):
        path = tmp_path / f"{images}.parquet"
        write(path, np.arange(images).repeat(5), 16, side=20)
        file = ResponseFile(path)
        tracemalloc.start()
        for group in file:
            raw_maps(group)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0]
