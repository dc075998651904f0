"""What is wrong with a list is named by file, row, value and fix."""

import re
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.support.tiny_list import (
    BARE,
    HEIGHT,
    MASK,
    OBJECT,
    OTHER,
    ROWS,
    RUNS,
    WIDTH,
    Row,
    build,
    cell,
    write,
)
from tris_core.annotations.index import build_index
from tris_core.data import rle
from tris_core.runtime.errors import InputError

COLUMNS: dict[str, tuple[Row, str]] = {
    "no sentence": ({"image": "b.png"}, "has no column 'sentence', only image; add it"),
    "unknown": (
        {**ROWS[0], "sentense": "x"},
        "column 'sentense' is unknown; did you mean 'sentence'? the",
    ),
    "no header": (
        {"b.png": "b.png", "a cup": "x"},
        "column 'b.png' is unknown; the first line names the columns: write",
    ),
    "pandas' index": (
        {"": 0, "image": "b.png", "sentence": "x"},
        "column '' is unknown; it is pandas' index: write the",
    ),
    "another case": (
        {"Image": "b.png", "sentence": "x"},
        "column 'Image' is unknown; did you mean 'image'?",
    ),
    "semicolons": ({"image;sentence": "b.png;a, b"}, "separated by semicolons; separate them by"),
    "tabs": ({"image\tsentence": "b.png\tx"}, "separated by tabs; separate them by commas"),
}
# cells of the second row, which is otherwise correct
PLAIN = {"image": "b.png", "sentence": "x"}
CELLS: dict[str, tuple[Row, str]] = {
    "no image": ({"image": " "}, "image is empty; name a file"),
    "missing image": ({"image": "d.png"}, "d.png is missing; put it there"),
    "image in another case": ({"image": "B.PNG"}, "is missing; did you mean 'b.png'? else put it"),
    "other extension": ({"image": "sub/a.jpg"}, "is missing; did you mean 'a.png'? else put it"),
    "image outside": ({"image": "../b.png"}, "file name '../b.png' leaves the image folder"),
    "absolute image": ({"image": "/b.png"}, "file name '/b.png' leaves the image folder"),
    "NUL": ({"sentence": "a\0b"}, "sentence is 'a\\x00b', which has a NUL"),
    "a long sentence": ({"sentence": "cup " * 250_000}, "sentence is 'cup cup cup "),
    "swapped": (
        {"image": "a cup", "sentence": "b.png"},
        "sentence is the name of a file, and image is none; ex",
    ),
}
BOXED = {**OBJECT, "mask": RUNS}
BOXES: dict[str, tuple[str, str]] = {
    "three numbers": ("1 2 3", "box is '1 2 3', expected four numbers"),
    "no numbers": ("1 2 3 x", "box is '1 2 3 x', expected four numbers"),
    "not finite": ("0 0 inf 3", "box is '0 0 inf 3', expected four numbers"),
    "inverted": ("5 0 4 3", "box is '5 0 4 3', expected four numbers"),
    "outside": ("0 0 14 11", "box 0 0 14 11 leaves the image of 14 x 10 pixels"),
}
OF_PICTURE = "pixels (width x height), the picture as displayed of 14 x 10"
MASKS: dict[str, tuple[Row, str]] = {
    "NaN": ({"mask": "nan"}, "mask 'nan': is a word for an empty cell; leave the cell"),
    "a file": (
        {"mask": "m/1.PNG"},
        "mask 'm/1.PNG': is the name of a file, but a list takes run l",
    ),
    "short": ({"mask": cell(BARE[:-1])}, "run lengths do not add up to 10 x 14 pixels; give"),
    "no runs": (
        {"mask": cell("mask.png")},
        "mask 'mask.png': run lengths do not add up to 10 x 14",
    ),
    "no ASCII": ({"mask": cell("é")}, "run lengths do not add up to 10 x 14"),
    "no pixel": (
        {"mask": cell(rle.encode(MASK & False).decode())},
        "has no pixel; leave the cell empty",
    ),
    "no size": ({"mask": BARE}, 'does not say its size; write it as {"size": [height, width]'),
    "half a size": ({"mask": BARE, "height": "10"}, "does not say its size; write it as"),
    "no number": (
        {"mask": BARE, "height": "ten", "width": "14"},
        "height is 'ten', expected a whole",
    ),
    "transposed": (
        {"mask": cell(BARE, WIDTH, HEIGHT)},
        f"is of 10 x 14 {OF_PICTURE}; height and width are swapped",
    ),
    "transposed columns": (
        {"mask": BARE, "height": "14", "width": "10"},
        f"is of 10 x 14 {OF_PICTURE}; height and width are swapped",
    ),
    "resized": (
        {"mask": cell("00", 20, 28)},
        f"is of 28 x 20 {OF_PICTURE}; make the mask at the picture's size",
    ),
    "str of bytes": (
        {"mask": str(BARE.encode())},
        "is Python's str() of bytes; write counts.decode()",
    ),
    "str of bytes in JSON": (
        {"mask": cell(str(BARE.encode()))},
        "is Python's str() of bytes; write counts.dec",
    ),
    "str of a dict": (
        {"mask": str({"size": [HEIGHT, WIDTH], "counts": BARE})},
        "is not JSON (Expecting",
    ),
    "polygons": (
        {"mask": "[[0, 0, 5, 0, 5, 5]]"},
        "looks like polygons, but a list takes run lengths; py",
    ),
}
TRAIN = "call the split to train on 'train'"
LISTS: dict[str, tuple[list[Row], str]] = {
    "no rows": ([], "is empty; write image,sentence in its first line"),
    "only blanks": (
        [{"image": "b.png", "sentence": " "}],
        "no ref is left, all lack a sentence; correct",
    ),
    "training": (
        [{**OBJECT, "split": "training"}],
        f"no ref of the split train; found 'training'; {TRAIN}",
    ),
    "all val": ([{**OBJECT, "split": "val"}], f"no ref of the split train; found 'val'; {TRAIN}"),
    "lone box": (
        [ROWS[0], {**OBJECT, "box": "0 0 3 3"}],
        "row 2: has a box but no mask; add the mask",
    ),
    "two splits": (
        [{**OBJECT, "split": "val"}, OBJECT],
        "row 2: split is 'train', but row 1 says 'val' of the same object; correct",
    ),
    "two masks": (
        [{**OBJECT, "mask": RUNS}, ROWS[1], {**OBJECT, "mask": OTHER}],
        "row 3: mask is ",
    ),
    "two boxes": (
        [{**OBJECT, "mask": RUNS, "box": "1 2 3 4"}, {**OBJECT, "box": "1 2 3 5"}],
        "row 2: box is (1.0, 2.0, 3.0, 5.0), but row 1 says (1.0, 2.0, 3.0, 4.0) of the same",
    ),
}
FAULTS = {
    **{f"column {name}": ([row], message) for name, (row, message) in COLUMNS.items()},
    **{f"cell {name}": ([ROWS[0], {**PLAIN, **row}], said) for name, (row, said) in CELLS.items()},
    **{f"box {name}": ([{**BOXED, "box": box}], said) for name, (box, said) in BOXES.items()},
    **{f"mask {name}": ([{**OBJECT, **row}], said) for name, (row, said) in MASKS.items()},
    **LISTS,
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_named_with_file_row_value_and_fix(tmp_path: Path, fault: str) -> None:
    rows, message = FAULTS[fault]
    with pytest.raises(InputError, match=re.escape(message)) as raised:
        build(tmp_path, rows)
    assert str(raised.value).startswith(f"{tmp_path / 'my.csv'}: ")
    assert "; " in str(raised.value) or "expected" in str(raised.value)
    row = {"cell": "row 2: ", "box ": "row 1: ", "mask": "row 1: "}.get(fault[:4], "")
    assert row in str(raised.value)


PARQUET_FAULTS: dict[str, tuple[Row, str]] = {
    "sentence": ({"image": "b.png", "sentence": 5}, "row 1: sentence is 5, expected text"),
    "object": ({**OBJECT, "object": 1.5}, "row 1: object is 1.5, expected text or a whole number"),
    "box": (
        {**OBJECT, "mask": RUNS, "box": [1, 2, 3]},
        "row 1: box is [1, 2, 3], expected four numbers",
    ),
}


@pytest.mark.parametrize("fault", PARQUET_FAULTS)
def test_a_column_of_another_type_is_named(tmp_path: Path, fault: str) -> None:
    row, message = PARQUET_FAULTS[fault]
    with pytest.raises(InputError, match=re.escape(message)):
        build(tmp_path, [row], "my.parquet")


def test_a_quote_that_is_never_closed_is_named(tmp_path: Path) -> None:
    write(tmp_path, ROWS)
    (tmp_path / "my.csv").write_text('image,sentence\nb.png,cup\nb.png,"red cup\nc.png,dog\n')
    with pytest.raises(
        InputError, match=r"my\.csv: row 2: .*; look for a quote that is never closed"
    ):
        build_index(tmp_path, "list", "none", "my.csv")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            b"image,sentence\nb.png,a, b\n",
            "row 1: has 3 cells, the header 2; quote cells with commas",
        ),
        (b"image,sentence\nb.png,a\nb.png\n", "row 2: has 1 cells, the header 2"),
        (b"image,sentence,sentence\nb.png,a,b\n", "column 'sentence' is there twice"),
        (b"image,sentence\nb.png,\xff\n", "cannot be read ('utf-8' codec"),
        (b"image,sentence\n", "has no rows; list at least one"),
        (b"", "is empty; write image,sentence"),
    ],
)
def test_a_damaged_csv_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    root = write(tmp_path, ROWS)
    (root / "my.csv").write_bytes(content)
    with pytest.raises(InputError, match=re.escape(message)):
        build_index(root, "list", "none", "my.csv")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("my.tsv", b"", "neither .csv nor .parquet"),
        ("none.csv", None, "none.csv: no such file; set dataset.annotations"),
        ("none.parquet", None, "none.parquet: no such file"),
        ("bad.parquet", b"no parquet", "bad.parquet: not a Parquet file"),
    ],
)
def test_a_file_that_is_not_a_list_is_named(
    tmp_path: Path, name: str, content: bytes | None, message: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=re.escape(message)):
        build_index(tmp_path, "list", "none", name)


@pytest.mark.parametrize("which", ["all", "in the schema", "in the chunks"])
def test_a_parquet_file_whose_names_are_damaged_is_named(which: str, tmp_path: Path) -> None:
    path = tmp_path / "my.parquet"
    pq.write_table(pa.table({"image": ["a.png"], "sentence": ["cup"]}), path, store_schema=False)
    start, *rest = path.read_bytes().split(b"sentence")
    assert len(rest) >= 2
    damaged = {
        "all": [*range(len(rest))],
        "in the schema": [0],
        "in the chunks": [*range(1, len(rest))],
    }[which]
    names = [b"sent\xffnce" if number in damaged else b"sentence" for number in range(len(rest))]
    path.write_bytes(
        start + b"".join(part for pair in zip(names, rest, strict=True) for part in pair)
    )
    with pytest.raises(
        InputError, match=re.escape("my.parquet: ") if which != "in the chunks" else "a.png"
    ):
        build_index(tmp_path, "list", "none", "my.parquet")


def test_an_unreadable_image_is_named_by_its_first_row(tmp_path: Path) -> None:
    root = write(tmp_path, ROWS)
    (root / "sub/a.png").write_bytes(b"no image")
    with pytest.raises(InputError, match=r"my\.csv: row 2: image .*sub/a\.png cannot be read"):
        build_index(root, "list", "none", "my.csv")


@pytest.mark.parametrize(
    ("name", "split_by", "annotations", "message"),
    [
        ("list", "unc", "my.csv", "dataset.split_by = 'unc': for list it must be none"),
        ("referit", "google", "a", "for referit it must be none"),
        ("refcoco+", "google", "a", "for refcoco+ it must be unc"),
        ("refcocog", "none", "a", "for refcocog it must be umd or google"),
        (
            "refclef",
            "unc",
            "a",
            "data set 'refclef' is not known; use one of shapes, refcoco, refcoco+, refcocog, ref",
        ),
        (
            "list",
            "none",
            "/my.csv",
            "dataset.annotations = '/my.csv': must be a path inside dataset.root",
        ),
        ("list", "none", "../my.csv", "must be a path inside dataset.root"),
    ],
)
def test_an_impossible_combination_is_named(
    tmp_path: Path, name: str, split_by: str, annotations: str, message: str
) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        build_index(tmp_path, name, split_by, annotations)
