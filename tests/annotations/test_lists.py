"""Plain lists: CSV and Parquet give equal tables, and ids repeat."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from tests.support.tiny_list import (
    BARE,
    HEIGHT,
    MASK,
    OBJECT,
    ROWS,
    RUNS,
    WIDTH,
    Row,
    build,
    write,
)
from tris_core.annotations.index import build_index, drop_summary
from tris_core.data import rle
from tris_core.runtime.errors import InputError


@pytest.mark.parametrize("name", ["my.csv", "my.parquet"])
def test_rows_become_tables(tmp_path: Path, name: str) -> None:
    index = build(tmp_path, ROWS, name, strict=True)
    images = index.images.select(["image_id", "path", "height", "width"]).to_pylist()
    assert [list(row.values()) for row in images] == [
        [0, "b.png", HEIGHT, WIDTH], [1, "c.png", HEIGHT, WIDTH], [2, "sub/a.png", HEIGHT, WIDTH],
    ]  # fmt: skip
    refs = index.refs.select(["ref_id", "image_id", "ann_id", "category_id", "split"])
    assert [list(row.values()) for row in refs.to_pylist()] == [
        [1, 0, 1, 0, "train"],
        [2, 2, 2, 0, "val"],
        [3, 0, 3, 0, "train"],
        [5, 1, 5, 0, "train"],
    ]
    assert set(index.refs["category"].to_pylist()) == {None}
    assert [list(row.values()) for row in index.expressions.to_pylist()] == [
        [1, 1, "a cup, blue"],
        [4, 1, "blue cup"],
        [2, 2, "the spoon"],
        [3, 3, "NA"],
        [5, 5, "anything"],
    ]
    truth = index.truth.to_pylist()
    assert [row["ref_id"] for row in truth] == [2, 3]
    corners = [[row[corner] for corner in ("x0", "y0", "x1", "y1")] for row in truth]
    assert corners == [[4, 1.5, 9, 6], [4, 2, 9, 5]]  # as given; the mask's own
    for row in truth:
        assert (row["area"], row["height"], row["width"]) == (15, HEIGHT, WIDTH)
        np.testing.assert_array_equal(rle.decode(row["counts"], HEIGHT, WIDTH), MASK)


def test_images_and_sentences_are_enough(tmp_path: Path) -> None:
    index = build(
        tmp_path, [{"image": "b.png", "sentence": "cup"}, {"image": "b.png", "sentence": "cup"}]
    )
    # two objects: nothing says that they are one
    assert index.refs["split"].to_pylist() == ["train", "train"]
    assert len(index.truth) == 0
    assert index.truth.schema.field("counts").type == pa.binary()


def test_objects_may_be_numbers(tmp_path: Path) -> None:
    rows = [
        {"image": "b.png", "sentence": str(n), "object": o}
        for n, o in enumerate([4, 5, None, 4, None])
    ]
    assert build(tmp_path, rows, "my.parquet").expressions["ref_id"].to_pylist() == [1, 1, 2, 3, 5]


def test_a_mask_in_one_row_belongs_to_the_object(tmp_path: Path) -> None:
    rows = [
        {"image": "b.png", "sentence": s, "object": "1", "mask": m}
        for s, m in (("x", ""), ("y", RUNS), ("z", RUNS))
    ]
    assert build(tmp_path, rows).truth["ref_id"].to_pylist() == [1]


@pytest.mark.parametrize("name", ["my.csv", "my.parquet"])
@pytest.mark.parametrize("sides", [{"height": HEIGHT, "width": WIDTH}, {}])
def test_a_mask_has_its_size_in_the_cell_or_in_columns(
    tmp_path: Path, name: str, sides: Row
) -> None:
    rows = [
        {**OBJECT, "mask": BARE if sides else RUNS, **sides},
        {"image": "b.png", "sentence": "y"},
    ]
    (row,) = build(tmp_path, rows, name).truth.to_pylist()
    assert (row["counts"], row["area"]) == (BARE.encode(), 15)


def test_a_mask_is_a_struct_in_parquet(tmp_path: Path) -> None:
    for counts in (BARE, BARE.encode()):
        rows = [
            {**OBJECT, "mask": {"size": [HEIGHT, WIDTH], "counts": counts}},
            {"image": "b.png", "sentence": "y"},
        ]
        assert build(tmp_path, rows, "my.parquet").truth["counts"].to_pylist() == [BARE.encode()]


def test_remarks_name_what_is_odd_but_not_wrong(tmp_path: Path) -> None:
    assert build(tmp_path, ROWS).remarks == ()
    repeated = build(tmp_path, [*ROWS, ROWS[0], ROWS[4]])
    assert len(repeated.expressions) == 7
    assert "2 rows kept that repeat an earlier one" in " ".join(repeated.remarks)
    alone = build(tmp_path, [{"image": "b.png", "sentence": "cup"}])
    assert "all refs of train are on one picture: there are no negatives" in " ".join(alone.remarks)


def test_blank_sentences_are_dirt(tmp_path: Path) -> None:
    rows = [*ROWS, {"image": "b.png", "sentence": " "}]
    assert drop_summary(build(tmp_path, rows)) == "1 ref without sentences, 1 sentence empty"
    with pytest.raises(InputError, match=r"my\.csv: row 6: empty; correct it, or turn strict off"):
        build(tmp_path, rows, strict=True)


def test_sizes_may_be_floats_as_pandas_writes_columns_with_gaps(tmp_path: Path) -> None:
    rows = [
        {**OBJECT, "mask": BARE, "height": f"{HEIGHT}.0", "width": f"{WIDTH}.0"},
        {"image": "c.png", "sentence": "y"},
    ]
    assert build(tmp_path, rows).truth["area"].to_pylist() == [15]
    rows[0]["width"] = f"{WIDTH}.5"
    with pytest.raises(
        InputError, match=r"row 1: width is '14\.5', expected a whole number of pixels; correct it"
    ):
        build(tmp_path, rows)


def test_excels_byte_order_mark_is_ignored(tmp_path: Path) -> None:
    root = write(tmp_path, ROWS)
    (root / "my.csv").write_bytes(b"\xef\xbb\xbfimage,sentence\r\nb.png,cup\r\n")
    assert build_index(root, "list", "none", "my.csv").expressions["text"].to_pylist() == ["cup"]
