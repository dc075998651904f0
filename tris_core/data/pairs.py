"""A plain list of images and sentences, CSV or Parquet, as checked tables.

    image      path relative to the root
    sentence   what is said
    object     optional: an id (text or a whole number); the sentences of one image and object belong together. Without it
               every row is an object of its own
    split      optional: train (the default), or any other name
    mask       optional: COCO's compressed run-length code, as text, at the image's size
    box        optional, and only beside a mask, whose own box it replaces: x0, y0, x1, y1 in pixels; a list in Parquet,
               "x0 y0 x1 y1" in CSV

Nothing is trained on masks and boxes; they let evaluation measure. A sentence has its row's number (from 1) for an id, an
object the number of its first row, an image its position among the paths in alphabetical order.
"""

import csv
import math
import reprlib
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from tris_core.data import rle
from tris_core.data.layout import IMAGE_FOLDERS
from tris_core.data.tables import Annotation, Box, Tables, image_size
from tris_core.errors import InputError

NEEDED = ("image", "sentence")
COLUMNS = (*NEEDED, "object", "split", "mask", "box")


@dataclass
class _Object:
    """What the rows of one object say together, and the first row to say it."""

    image: str
    first: int
    said: dict[str, tuple[int, Any]] = field(default_factory=dict)

    def add(self, path: Path, row: int, column: str, value: Any) -> None:
        earlier, known = self.said.setdefault(column, (row, value))
        if known != value:
            problem = f"{column} is {reprlib.repr(value)}, but row {earlier} says {reprlib.repr(known)} of the same object"
            raise InputError(f"{path}: row {row}: {problem}; correct one of them, or give them different objects")


def read_pairs(root: Path, annotations: str) -> Tables:
    """Read the list `annotations`, a .csv or .parquet file under `root`.

    Raises `InputError`, naming the row (from 1, the header not counted), for columns that are missing or unknown, cells
    that are not as above, rows of one object that contradict each other, and images that are missing or unreadable.
    """
    path = root / annotations
    rows = _read(path)
    objects: dict[tuple[str, Any], _Object] = {}
    sentences = []
    for number, row in enumerate(rows, start=1):
        image, key = _image(path, number, row), _key(path, number, row)
        found = objects.setdefault((image, key), _Object(image, number))
        found.add(path, number, "split", _text(path, number, row, "split").strip() or "train")
        for column, value in (("mask", _text(path, number, row, "mask")), ("box", _box(path, number, row))):
            if value:
                found.add(path, number, column, value)
        sentences.append((number, found.first, _text(path, number, row, "sentence")))

    image_root = root / IMAGE_FOLDERS["list"]
    first_row: dict[str, int] = {}
    for found in objects.values():
        first_row.setdefault(found.image, found.first)
    names = sorted(first_row)
    image_ids = {name: position for position, name in enumerate(names)}
    sizes = {name: image_size(image_root, name, f"{path}: row {first_row[name]}") for name in names}
    refs = [(o.first, image_ids[o.image], o.first, 0, o.said["split"][1]) for o in objects.values()]
    annotated = {o.first: _annotation(path, o, image_ids, sizes) for o in objects.values() if o.said.keys() & {"mask", "box"}}
    return Tables(
        image_root,
        pd.DataFrame([(image_ids[n], n, *sizes[n]) for n in names], columns=["image_id", "file_name", "height", "width"]),
        pd.DataFrame(refs, columns=["ref_id", "image_id", "ann_id", "category_id", "split"]),
        pd.DataFrame(sentences, columns=["sent_id", "ref_id", "sent"]),
        annotated,
        lambda kind, row_id: f"{path}: row {first_row[names[row_id]] if kind == 'image' else row_id}",
    )


def _read(path: Path) -> list[dict[str, Any]]:
    """The rows, cells of a CSV as text."""
    try:
        if path.suffix == ".csv":
            columns, rows = _read_csv(path)
        elif path.suffix == ".parquet":
            table = pq.ParquetFile(path).read()
            columns, rows = table.column_names, table.to_pylist()
        else:
            raise InputError(f"{path}: neither .csv nor .parquet; set dataset.annotations to such a file under dataset.root")
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file; set dataset.annotations to a list under dataset.root") from error
    except (OSError, UnicodeDecodeError, csv.Error, pa.ArrowException) as error:
        raise InputError(f"{path}: cannot be read ({error}); write it again, CSV in UTF-8") from error
    for column in columns:
        if column not in COLUMNS or columns.count(column) > 1:
            problem = "is there twice" if column in COLUMNS else "is unknown"
            raise InputError(f"{path}: column {column!r} {problem}; the columns of a list are {', '.join(COLUMNS)}")
    for column in NEEDED:
        if column not in columns:
            raise InputError(f"{path}: has no column {column!r}, only {', '.join(columns)}; add it")
    if not rows:
        raise InputError(f"{path}: has no rows; list at least one image and sentence")
    return rows


def _read_csv(path: Path) -> tuple[list[str], list[dict[str, Any]]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file, strict=True)
        rows = list(reader)
        columns = list(reader.fieldnames or [])
    for number, row in enumerate(rows, start=1):
        if None in row or None in row.values():
            cells = len(columns) + len(row.get(None) or []) - list(row.values()).count(None)
            raise InputError(f"{path}: row {number}: has {cells} cells, the header {len(columns)}; quote cells with commas")
    return columns, rows


def _text(path: Path, number: int, row: dict[str, Any], column: str) -> str:
    value = row.get(column)
    if isinstance(value, bytes) and column == "mask":
        value = value.decode("latin1")
    if value is None:
        return ""
    if not isinstance(value, str):
        raise InputError(f"{path}: row {number}: {column} is {reprlib.repr(value)}, expected text")
    return value


def _image(path: Path, number: int, row: dict[str, Any]) -> str:
    name = _text(path, number, row, "image").strip()
    if not name:
        raise InputError(f"{path}: row {number}: image is empty; name a file under dataset.root")
    return str(PurePosixPath(name))  # so that ./a.jpg and a.jpg are one image


def _key(path: Path, number: int, row: dict[str, Any]) -> tuple[str, Any]:
    value = row.get("object")
    if value is None or value == "":
        return "row", number
    if type(value) not in (int, str):
        raise InputError(f"{path}: row {number}: object is {reprlib.repr(value)}, expected text or a whole number")
    return "object", value


def _box(path: Path, number: int, row: dict[str, Any]) -> Box | None:
    value = row.get("box")
    if value is None or value == "":
        return None
    try:
        x0, y0, x1, y1 = (float(v) for v in (value.split() if isinstance(value, str) else value))
    except (TypeError, ValueError):
        x0 = y0 = x1 = y1 = math.nan
    if not (-math.inf < x0 < x1 < math.inf and -math.inf < y0 < y1 < math.inf):
        problem = f"box is {reprlib.repr(value)}, expected four numbers x0 y0 x1 y1 with x0 < x1 and y0 < y1"
        raise InputError(f"{path}: row {number}: {problem}; correct it or leave it empty")
    return x0, y0, x1, y1


def _annotation(path: Path, found: _Object, image_ids: dict[str, int], sizes: dict[str, tuple[int, int]]) -> Annotation:
    """The checked truth of an object that has a mask or a box."""
    height, width = sizes[found.image]
    box_row, box = found.said.get("box", (0, None))
    if "mask" not in found.said:
        raise InputError(
            f"{path}: row {box_row}: has a box but no mask; add the mask, which is what is measured, or leave both out"
        )
    if box and not (box[0] >= 0 and box[1] >= 0 and box[2] <= width and box[3] <= height):
        problem = f"box {' '.join(f'{v:g}' for v in box)} leaves the image of {width} x {height} pixels"
        raise InputError(f"{path}: row {box_row}: {problem}; give x0 y0 x1 y1 in pixels of the image")
    row, mask = found.said["mask"]
    where = f"{path}: row {row}: mask {reprlib.repr(mask)}"
    segmentation = {"size": [height, width], "counts": mask}
    try:
        counts, _ = rle.from_segmentation(segmentation, height, width, "union")
    except ValueError as error:
        raise InputError(f"{where}: {error}; give compressed run lengths at the image's size") from error
    if not rle.area(counts, height, width):
        raise InputError(f"{where}: has no pixel; leave it empty where there is no truth")
    return Annotation(where, image_ids[found.image], box, segmentation)
