"""Bombs in lists, annotations and supplied tables."""

import csv
import json
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from tests.attack.bombs import Read, bomb
from tests.support.tiny_refer import TinyRefer, annotation
from tris_core.annotations.index import build_index
from tris_core.data.index import Index
from tris_core.evaluation.mask_files import read_masks
from tris_core.predict.files import requests_of_csv
from tris_core.responses.supplied import supplied_labels, supplied_responses

LONG = 100_000  # bytes of a value that is stored once in a dictionary
SIDE = 5700  # pixels; a square of this side is almost the largest image that is opened


def a_list(folder: Path, name: str) -> Read:
    Image.new("RGB", (14, 10)).save(folder / "b.png")
    return lambda: build_index(folder, "list", "none", name)


def repeated(value: Any, rows: int, kind: pa.DataType) -> pa.Array:
    """`rows` times the same value, stored once."""
    return pa.DictionaryArray.from_arrays(
        pa.array(np.zeros(rows, np.int32)), pa.array([value], kind)
    )


@bomb("list CSV of 20,000 columns")
def wide_header(folder: Path) -> Read:
    with (folder / "my.csv").open("w") as file:
        file.write(",".join(f"c{n}" for n in range(20_000)) + "\n" + "a\n" * 20_000)
    return a_list(folder, "my.csv")


@bomb("list CSV with the same column 20,000 times")
def same_header(folder: Path) -> Read:
    with (folder / "my.csv").open("w") as file:
        file.write("image," * 20_000 + "sentence\n" + "a\n" * 20_000)
    return a_list(folder, "my.csv")


@bomb("list CSV with a row of a million cells")
def wide_row(folder: Path) -> Read:
    (folder / "my.csv").write_text("image,sentence\nb.png,cup\nb.png" + "," * 10**6 + "\n")
    return a_list(folder, "my.csv")


@bomb("list CSV with an endless cell")
def endless_cell(folder: Path) -> Read:
    (folder / "my.csv").write_text('image,sentence\nb.png,cup\nb.png,"' + "a cup\n" * 10**7)
    return a_list(folder, "my.csv")


@bomb("list CSV with an endless header")
def endless_header(folder: Path) -> Read:
    (folder / "my.csv").write_text("image,sentence" + "a" * 10**8)
    return a_list(folder, "my.csv")


@bomb("list Parquet: one text of 100 KB, 200,000 times")
def one_sentence(folder: Path) -> Read:
    rows = 200_000
    table = {
        "image": repeated("b.png", rows, pa.string()),
        "sentence": repeated("x" * LONG, rows, pa.string()),
    }
    pq.write_table(pa.table(table), folder / "my.parquet", store_schema=False)
    return a_list(folder, "my.parquet")


@bomb("list Parquet: one name of 100 KB, 200,000 times")
def one_name(folder: Path) -> Read:
    rows = 200_000
    table = {
        "image": repeated("x" * LONG, rows, pa.string()),
        "sentence": repeated("cup", rows, pa.string()),
    }
    pq.write_table(pa.table(table), folder / "my.parquet", store_schema=False)
    return a_list(folder, "my.parquet")


@bomb("list Parquet: a billion rows")
def many_rows(folder: Path) -> Read:
    group = {
        name: repeated(text, 10**7, pa.string())
        for name, text in (("image", "b.png"), ("sentence", "cup"))
    }
    with pq.ParquetWriter(
        folder / "my.parquet", pa.table(group).schema, compression="zstd", store_schema=False
    ) as writer:
        for _ in range(100):
            writer.write_table(pa.table(group), row_group_size=10**7)
    return a_list(folder, "my.parquet")


@bomb("list Parquet: boxes of 10^8 numbers")
def long_box(folder: Path) -> Read:
    boxes = pa.ListArray.from_arrays([0, 10**8], repeated_zeros(10**8))
    table = {"image": ["b.png"], "sentence": ["cup"], "mask": ["00"], "box": boxes}
    pq.write_table(pa.table(table), folder / "my.parquet", store_schema=False)
    return a_list(folder, "my.parquet")


def repeated_zeros(number: int) -> pa.Array:
    return pa.array(np.zeros(number, np.float32))


@bomb("list Parquet: a struct mask of 100 KB, 200,000 times")
def struct_masks(folder: Path) -> Read:
    rows = 200_000
    size = pa.ListArray.from_arrays(
        np.arange(0, 2 * rows + 1, 2, dtype=np.int32), pa.array(np.full(2 * rows, 10))
    )
    mask = pa.StructArray.from_arrays(
        [size, repeated("1" * LONG, rows, pa.string())], ["size", "counts"]
    )
    table = {
        "image": repeated("b.png", rows, pa.string()),
        "sentence": repeated("cup", rows, pa.string()),
        "mask": mask,
    }
    pq.write_table(pa.table(table), folder / "my.parquet", store_schema=False)
    return a_list(folder, "my.parquet")


def zero_maps(number: int) -> Iterator[pa.Table]:
    values = pa.ListArray.from_arrays([0, 10**7], repeated_zeros(10**7))
    for row in range(number):
        sides = {"height": pa.array([1000]), "width": pa.array([10_000])}
        yield pa.table({"expression_id": pa.array([row]), **sides, "map": values})


@bomb("responses: 50 maps of 10^7 zeros")
def few_maps(folder: Path) -> Read:
    return maps(folder, 50)


def maps(folder: Path, number: int) -> Read:
    tables = zero_maps(number)
    first = next(tables)
    path = folder / "theirs.parquet"
    with pq.ParquetWriter(path, first.schema, store_schema=False) as writer:
        writer.write_table(first)
        for table in tables:
            writer.write_table(table)
    return lambda: supplied_responses(path, pd.DataFrame({"expression_id": np.arange(number)}))


def equal_masks(path: Path, key: str, rows: int) -> None:
    columns = {
        key: pa.array(np.arange(rows)),
        "height": pa.array(np.full(rows, 10)),
        "width": pa.array(np.full(rows, 14)),
    }
    counts = repeated(b"0" * LONG, rows, pa.binary())
    pq.write_table(pa.table({**columns, "counts": counts}), path, store_schema=False)


@bomb("pseudo-labels: one mask of 100 KB, 100,000 times")
def equal_labels(folder: Path) -> Read:
    equal_masks(folder / "theirs.parquet", "ref_id", 100_000)
    ids = np.arange(100_000)
    refs = pd.DataFrame({"ref_id": ids, "image_id": 0, "split": "train"})
    images = pd.DataFrame({"image_id": [0], "height": 10, "width": 14})
    index = Index.of(refs=refs, images=images)
    return lambda: supplied_labels(folder / "theirs.parquet", index)


@bomb("masks to score: one mask of 100 KB, 100,000 times")
def equal_predictions(folder: Path) -> Read:
    equal_masks(folder / "masks.parquet", "expression_id", 100_000)
    return lambda: read_masks(folder / "masks.parquet")


def polygons(
    folder: Path, number: int, *, corners: list[float], honest: bool = False, side: int = SIDE
) -> Read:
    """refer's data set with an image of `side` squared pixels and `number` equal polygons.

    The image file really has that size if `honest`; otherwise it has 60 x 40 pixels.
    """
    tiny = TinyRefer()
    tiny.annotations[0] = annotation(1, 70, [corners] * number)
    tiny.images[0].update(height=side, width=side)
    tiny.write(folder)
    if honest:
        Image.new("1", (side, side)).save(folder / "train2014/b.jpg", "PNG")
        for row in tiny.annotations[1:4:2]:
            row["segmentation"] = [corners]
    return lambda: build_index(folder, "refcocog", "umd", "refer/refcocog")


FRAME: list[float] = [0, 0, SIDE, 0, SIDE, SIDE, 0, SIDE]


@bomb("30 polygons of 5700 x 5700 on an image of 60 x 40")
def some_polygons(folder: Path) -> Read:
    return polygons(folder, 30, corners=FRAME)


@bomb("200 polygons of 5700 x 5700 on an image of 60 x 40")
def more_polygons(folder: Path) -> Read:
    return polygons(folder, 200, corners=FRAME)


@bomb("100 polygons on an image of 5700 x 5700", harmless=True)
def honest_polygons(folder: Path) -> Read:
    return polygons(folder, 100, corners=FRAME, honest=True)


@bomb("20,000 polygons on an image of 5700 x 5700")
def endless_polygons(folder: Path) -> Read:
    return polygons(folder, 20_000, corners=FRAME, honest=True)


@bomb("300 polygons on a small image", harmless=True)
def small_polygons(folder: Path) -> Read:
    return polygons(folder, 300, corners=[0, 0, 40, 0, 40, 40, 0, 40], honest=True, side=40)


@bomb("a polygon of 1,000 corners a million pixels away")
def far_corners(folder: Path) -> Read:
    corners: list[float] = [-999_999, -999_999, 999_999, 999_999, 0, 999_999] * 333
    return polygons(folder, 1, corners=corners, honest=True, side=40)


@bomb("ReferIt: runs of 5700 x 5700 on an image of 16 x 12")
def referit_runs(folder: Path) -> Read:
    place = folder / "referit/annotations"
    place.mkdir(parents=True)
    (folder / "referit/images").mkdir()
    Image.new("RGB", (16, 12)).save(folder / "referit/images/40.jpg")
    part = {"size": [SIDE, SIDE], "counts": [0, SIDE * SIDE]}
    row = {"image_id": "40", "query": "cup", "bbox": [[0, 0, 5, 5]], "sen_id": 1}
    row["segmentation"] = [part] * 2000
    (place / "train.pickle").write_bytes(pickle.dumps({"40": {"annotations": [row]}}, protocol=2))
    return lambda: build_index(folder, "referit", "none", "referit/annotations")


@bomb("results in JSON: runs of 5700 x 5700 in 2,000 records", harmless=True)
def json_masks(folder: Path) -> Read:
    segmentation = {"size": [SIDE, SIDE], "counts": [0, SIDE * SIDE]}
    records = [{"expression_id": n, "segmentation": segmentation} for n in range(2000)]
    (folder / "m.json").write_text(json.dumps(records))
    return lambda: read_masks(folder / "m.json")


@bomb("predict CSV of 20,000 columns")
def wide_requests(folder: Path) -> Read:
    with (folder / "t.csv").open("w", newline="") as file:
        csv.writer(file).writerows([[f"c{n}" for n in range(20_000)], *[["a"]] * 20_000])
    return lambda: requests_of_csv(folder / "t.csv")
