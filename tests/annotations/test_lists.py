"""Plain lists: CSV and Parquet say the same, ids repeat, and what is wrong is named by row."""

import csv
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from tris_core.annotations.index import Annotations, build_index, drop_summary
from tris_core.data import rle
from tris_core.runtime.errors import InputError

HEIGHT, WIDTH = 10, 14
MASK = np.zeros((HEIGHT, WIDTH), bool)
MASK[2:5, 4:9] = True
BARE = rle.encode(MASK).decode()


def cell(counts: str, height: int = HEIGHT, width: int = WIDTH) -> str:
    return json.dumps({"size": [height, width], "counts": counts})


RUNS = cell(BARE)
OTHER = cell(rle.encode(~MASK).decode())

Row = dict[str, Any]
ROWS: list[Row] = [
    {"image": "b.png", "sentence": "a cup, blue", "object": "7"},
    {
        "image": "sub/a.png",
        "sentence": "the spoon",
        "object": "7",
        "split": "val",
        "mask": RUNS,
        "box": [4, 1.5, 9, 6],
    },
    {"image": "b.png", "sentence": "NA", "object": "8", "mask": RUNS},
    {"image": "./b.png", "sentence": "blue cup", "object": "7"},
    {"image": "c.png", "sentence": "anything"},
]


def write(root: Path, rows: list[Row], name: str = "my.csv") -> Path:
    (root / "sub").mkdir(parents=True, exist_ok=True)
    for image in ("b.png", "c.png", "sub/a.png"):
        Image.new("RGB", (WIDTH, HEIGHT)).save(root / image)
    columns = list(dict.fromkeys(column for row in rows for column in row))
    if name.endswith(".parquet"):
        pq.write_table(
            pa.table({column: [row.get(column) for row in rows] for column in columns}), root / name
        )
    else:
        with (root / name).open("w", newline="") as file:
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            for row in rows:
                box = (
                    {"box": " ".join(map(str, row["box"]))}
                    if isinstance(row.get("box"), list)
                    else {}
                )
                writer.writerow({**row, **box})
    return root


def build(root: Path, rows: list[Row], name: str = "my.csv", **options: Any) -> Annotations:
    return build_index(write(root, rows, name), "list", "none", name, **options)


@pytest.mark.parametrize("name", ["my.csv", "my.parquet"])
def test_rows_become_tables(tmp_path: Path, name: str) -> None:
    index = build(tmp_path, ROWS, name, strict=True)
    images = index.images.select(["image_id", "path", "height", "width"]).to_pylist()
    assert [list(row.values()) for row in images] == [
        [0, "b.png", HEIGHT, WIDTH], [1, "c.png", HEIGHT, WIDTH], [2, "sub/a.png", HEIGHT, WIDTH],
    ]  # fmt: skip
    assert [list(row.values()) for row in index.refs.to_pylist()] == [
        [1, 0, 1, 0, None, "train"], [2, 2, 2, 0, None, "val"], [3, 0, 3, 0, None, "train"], [5, 1, 5, 0, None, "train"],
    ]  # fmt: skip
    assert [list(row.values()) for row in index.expressions.to_pylist()] == [
        [1, 1, "a cup, blue"], [4, 1, "blue cup"], [2, 2, "the spoon"], [3, 3, "NA"], [5, 5, "anything"],
    ]  # fmt: skip
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
    assert index.refs["split"].to_pylist() == [
        "train",
        "train",
    ]  # two objects: nothing says they are one
    assert len(index.truth) == 0
    assert index.truth.schema.field("counts").type == pa.binary()


def test_objects_may_be_numbers(tmp_path: Path) -> None:
    rows = [
        {"image": "b.png", "sentence": str(n), "object": o}
        for n, o in enumerate([4, 5, None, 4, None])
    ]
    assert build(tmp_path, rows, "my.parquet").expressions["ref_id"].to_pylist() == [1, 1, 2, 3, 5]


def test_truth_in_one_row_is_that_of_the_object(tmp_path: Path) -> None:
    rows = [
        {"image": "b.png", "sentence": s, "object": "1", "mask": m}
        for s, m in (("x", ""), ("y", RUNS), ("z", RUNS))
    ]
    assert build(tmp_path, rows).truth["ref_id"].to_pylist() == [1]


@pytest.mark.parametrize("name", ["my.csv", "my.parquet"])
@pytest.mark.parametrize("sides", [{"height": HEIGHT, "width": WIDTH}, {}])
def test_a_mask_says_its_size_in_the_cell_or_beside_it(
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


def test_what_is_odd_but_not_wrong_is_said(tmp_path: Path) -> None:
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


OBJECT = {"image": "b.png", "sentence": "x", "object": "1"}
FAULTS: dict[str, tuple[list[Row], str]] = {
    "no sentence column": ([{"image": "b.png"}], "has no column 'sentence', only image; add it"),
    "unknown column": ([{**ROWS[0], "sentense": "x"}], "column 'sentense' is unknown; did you mean 'sentence'? the"),
    "no rows": ([], "is empty; write image,sentence in its first line"),
    "no header": ([{"b.png": "b.png", "a cup": "x"}], "column 'b.png' is unknown; the first line names the columns: write"),
    "pandas' index": ([{"": 0, "image": "b.png", "sentence": "x"}], "column '' is unknown; it is pandas' index: write the"),
    "only blanks": ([{"image": "b.png", "sentence": " "}], "no ref is left, all lack a sentence or a mask pixel; correct"),
    "no image": ([ROWS[0], {**ROWS[0], "image": " "}], "row 2: image is empty; name a file"),
    "missing image": ([ROWS[0], {"image": "d.png", "sentence": "x"}], "d.png is missing; put it there"),
    "another case": ([{"image": "B.PNG", "sentence": "x"}], "B.PNG is missing; did you mean 'b.png'? else put it there"),
    "another extension": ([{"image": "sub/a.jpg", "sentence": "x"}], "sub/a.jpg is missing; did you mean 'a.png'? else put"),
    "NUL": ([ROWS[0], {"image": "b.png", "sentence": "a\0b"}], "row 2: sentence is 'a\\x00b', which has a NUL"),
    "NaN as mask": ([ROWS[0], {**OBJECT, "mask": "nan"}], "row 2: mask 'nan': is a word for an empty cell; leave the cell"),
    "file as mask": ([{**OBJECT, "mask": "m/1.PNG"}], "row 1: mask 'm/1.PNG': is the name of a file, but a list takes run l"),
    "leaving": ([ROWS[0], {"image": "../b.png", "sentence": "x"}], "row 2: file name '../b.png' leaves the image folder"),
    "absolute": ([{"image": "/b.png", "sentence": "x"}], "row 1: file name '/b.png' leaves the image folder"),
    "three numbers": ([{**OBJECT, "mask": RUNS, "box": "1 2 3"}], "row 1: box is '1 2 3', expected four numbers"),
    "no numbers": ([{**OBJECT, "mask": RUNS, "box": "1 2 3 x"}], "row 1: box is '1 2 3 x', expected four numbers"),
    "not finite": ([{**OBJECT, "mask": RUNS, "box": "0 0 inf 3"}], "row 1: box is '0 0 inf 3', expected four numbers"),
    "inverted": ([{**OBJECT, "mask": RUNS, "box": "5 0 4 3"}], "row 1: box is '5 0 4 3', expected four numbers"),
    "outside": ([{**OBJECT, "mask": RUNS, "box": "0 0 14 11"}], "row 1: box 0 0 14 11 leaves the image of 14 x 10 pixels"),
    "box alone": ([ROWS[0], {**OBJECT, "box": "0 0 3 3"}], "row 2: has a box but no mask; add the mask"),
    "short mask": ([{**OBJECT, "mask": cell(BARE[:-1])}], "run lengths do not add up to 10 x 14 pixels; give"),
    "no mask": ([{**OBJECT, "mask": cell("mask.png")}], "row 1: mask 'mask.png': run lengths do not add up to 10 x 14"),
    "odd mask": ([{**OBJECT, "mask": cell("é")}], "run lengths do not add up to 10 x 14"),
    "empty mask": ([{**OBJECT, "mask": cell(rle.encode(MASK & False).decode())}], "has no pixel; leave it empty"),
    "no size": ([{**OBJECT, "mask": BARE}], "does not say its size; write it as {\"size\": [height, width]"),
    "half a size": ([{**OBJECT, "mask": BARE, "height": "10"}], "does not say its size; write it as"),
    "no height": ([{**OBJECT, "mask": BARE, "height": "ten", "width": "14"}], "row 1: height is 'ten', expected a whole"),
    "transposed": (
        [{**OBJECT, "mask": cell(BARE, WIDTH, HEIGHT)}],
        "is of 10 x 14 pixels (width x height), the picture as displayed of 14 x 10; height and width are swapped",
    ),
    "transposed columns": (
        [{**OBJECT, "mask": BARE, "height": "14", "width": "10"}],
        "is of 10 x 14 pixels (width x height), the picture as displayed of 14 x 10; height and width are swapped",
    ),
    "resized": (
        [{**OBJECT, "mask": cell("00", 20, 28)}],
        "is of 28 x 20 pixels (width x height), the picture as displayed of 14 x 10; make the mask at the picture's size",
    ),
    "str of bytes": ([{**OBJECT, "mask": str(BARE.encode())}], "is Python's str() of bytes; write counts.decode()"),
    "str of bytes in JSON": ([{**OBJECT, "mask": cell(str(BARE.encode()))}], "is Python's str() of bytes; write counts.dec"),
    "str of a dict": ([{**OBJECT, "mask": str({"size": [HEIGHT, WIDTH], "counts": BARE})}], "is not JSON (Expecting"),
    "polygons": ([{**OBJECT, "mask": "[[0, 0, 5, 0, 5, 5]]"}], "looks like polygons, but a list takes run lengths; py"),
    "a long sentence": (
        [ROWS[0], {"image": "b.png", "sentence": "cup " * 250_000}], "row 2: sentence is 'cup cup cup ",
    ),
    "swapped": ([{"image": "a cup", "sentence": "b.png"}], "row 1: sentence is the name of a file, and image is none; ex"),
    "wrong case": ([{"Image": "b.png", "sentence": "x"}], "column 'Image' is unknown; did you mean 'image'?"),
    "semicolons": ([{"image;sentence": "b.png;a, b"}], "the cells are separated by semicolons; separate them by commas"),
    "tabs": ([{"image\tsentence": "b.png\tx"}], "the cells are separated by tabs; separate them by commas"),
    "training": ([{**OBJECT, "split": "training"}], "no ref of the split train; found 'training'"),
    "all val": ([{**OBJECT, "split": "val"}], "no ref of the split train; found 'val'; call the split to train on 'train'"),
    "two splits": (
        [{**OBJECT, "split": "val"}, OBJECT], "row 2: split is 'train', but row 1 says 'val' of the same object; correct",
    ),
    "two masks": ([{**OBJECT, "mask": RUNS}, ROWS[1], {**OBJECT, "mask": OTHER}], "row 3: mask is "),
    "two boxes": (
        [{**OBJECT, "mask": RUNS, "box": "1 2 3 4"}, {**OBJECT, "box": "1 2 3 5"}],
        "row 2: box is (1.0, 2.0, 3.0, 5.0), but row 1 says (1.0, 2.0, 3.0, 4.0) of the same object",
    ),
}  # fmt: skip


def test_a_quote_that_is_never_closed_is_told(tmp_path: Path) -> None:
    write(tmp_path, ROWS)
    (tmp_path / "my.csv").write_text('image,sentence\nb.png,cup\nb.png,"red cup\nc.png,dog\n')
    with pytest.raises(
        InputError, match=r"my\.csv: row 2: .*; look for a quote that is never closed"
    ):
        build_index(tmp_path, "list", "none", "my.csv")


def test_sides_may_be_written_as_pandas_writes_a_column_with_gaps(tmp_path: Path) -> None:
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


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_names_file_row_value_and_fix(tmp_path: Path, fault: str) -> None:
    rows, message = FAULTS[fault]
    with pytest.raises(InputError, match=re.escape(message)) as raised:
        build(tmp_path, rows)
    assert str(raised.value).startswith(f"{tmp_path / 'my.csv'}: ")
    assert "; " in str(raised.value) or "expected" in str(raised.value)


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


def test_excels_byte_order_mark_is_no_part_of_the_first_column(tmp_path: Path) -> None:
    root = write(tmp_path, ROWS)
    (root / "my.csv").write_bytes(b"\xef\xbb\xbfimage,sentence\r\nb.png,cup\r\n")
    assert build_index(root, "list", "none", "my.csv").expressions["text"].to_pylist() == ["cup"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("my.tsv", b"", "neither .csv nor .parquet"),
        ("none.csv", None, "none.csv: no such file; set dataset.annotations"),
        ("none.parquet", None, "none.parquet: no such file"),
        ("bad.parquet", b"no parquet", "bad.parquet: not a Parquet file"),
    ],
)
def test_a_file_that_is_no_list_is_named(
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
            "data set 'refclef' is not known; use one of shapes, refcoco, refcoco+, refcocog, referit, list",
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
def test_a_combination_that_makes_no_sense_is_named(
    tmp_path: Path, name: str, split_by: str, annotations: str, message: str
) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        build_index(tmp_path, name, split_by, annotations)
