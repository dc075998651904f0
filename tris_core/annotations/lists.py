"""Reads a plain list of images and sentences, CSV or Parquet, into checked tables.

image          path relative to the root
sentence       the expression
object         optional: an id (text or a whole number). Sentences with the same image and object
               refer to one object. Without it, every row is an object of its own
split          optional: train (the default) or any other name
mask           optional: {"size": [height, width], "counts": "..."} as JSON text, or in Parquet
               a struct. `counts` is COCO's compressed run-length code at the size of the picture
               as displayed
height, width  optional: size in pixels of masks that are counts alone
box            optional, with a mask; replaces the mask's own: x0, y0, x1, y1 in pixels. A list
               in Parquet, "x0 y0 x1 y1" in CSV

Training reads neither masks nor boxes; evaluation uses both. The id of a sentence is the number of
its row (from 1), that of an object the number of its first row, and that of an image the position
of its path in alphabetical order.
"""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tris_core.annotations.layout import IMAGE_FOLDERS
from tris_core.annotations.list_columns import Columns, read_columns
from tris_core.annotations.list_truth import ListTruth, contradict
from tris_core.annotations.tables import Tables, image_size
from tris_core.runtime.errors import InputError, counted

Rows = NDArray[np.int32]  # half the memory of int64; 2**31 rows would not fit anyway
# odd constants that spread the bits of a hash
IMAGE_FACTOR, OBJECT_FACTOR = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xC2B2AE3D27D4EB4F)


def read_pairs(root: Path, annotations: str) -> Tables:
    """Read the list `annotations`, a .csv or .parquet file under `root`.

    Raises:
        InputError: a column is missing or unknown, a cell is invalid, rows of one object disagree,
            or an image is missing or unreadable. The message names the row (from 1, without the
            header).
    """
    path, image_root = root / annotations, root / IMAGE_FOLDERS["list"]
    columns = read_columns(path)
    image_id, names, first_of_image = _images(columns)
    sizes = _sizes(path, image_root, columns, names, first_of_image)
    owner = _owners(columns)
    heads = np.flatnonzero(owner == np.arange(len(owner))).astype(np.int32)
    _check_splits(path, columns, owner)
    truth = ListTruth(path, columns.truth, owner, image_id, sizes) if columns.truth else {}
    images = pd.DataFrame({"image_id": np.arange(len(names)), "file_name": _text(names)})
    images[["height", "width"]] = sizes
    refs = pd.DataFrame({"ref_id": heads + 1, "image_id": image_id[heads], "ann_id": heads + 1})
    refs = refs.assign(category_id=np.int8(0), split=_splits(columns, heads).to_pandas())
    sentences = {"sent_id": np.arange(1, len(owner) + 1, dtype=np.int32), "ref_id": owner + 1}

    def where(kind: str, row_id: int) -> str:
        return f"{path}: row {first_of_image[row_id] + 1 if kind == 'image' else row_id}"

    return Tables(
        image_root,
        images,
        refs,
        pd.DataFrame({**sentences, "sent": _text(columns.sentence)}),
        truth,
        where,
        remarks=_repeats(columns),
    )


def _text(values: pa.Array | pa.ChunkedArray) -> pd.Series:
    """A series of text that stays in Arrow: an eighth of the memory of Python strings."""
    return pd.Series(values.to_pandas(types_mapper={pa.string(): pd.StringDtype("pyarrow")}.get))


def _images(columns: Columns) -> tuple[Rows, pa.Array, Rows]:
    """Number the images by the position of their sorted names.

    Returns:
        The image of every row, the names, and the first row (from 0) of each image.
    """
    order = np.argsort(columns.image.values.to_numpy(zero_copy_only=False), kind="stable")
    rank = np.empty(len(order), np.int32)
    rank[order] = np.arange(len(order))
    image_id = rank[columns.image.codes]
    first = np.full(len(order), len(image_id), np.int32)
    np.minimum.at(first, image_id, np.arange(len(image_id), dtype=np.int32))
    return image_id, columns.image.values.take(pa.array(order)), first


def _sizes(
    path: Path, root: Path, columns: Columns, names: pa.Array, first: Rows
) -> NDArray[np.int64]:
    """Height and width (images, 2) in pixels of every image."""
    sizes = np.empty((len(names), 2), np.int64)
    for position, row in enumerate(first):
        try:
            sizes[position] = image_size(root, names[position].as_py(), f"{path}: row {row + 1}")
        except InputError:
            if _is_file(root, columns.sentence[int(row)].as_py()):
                problem = "sentence is the name of a file, and image is none"
                fix = "exchange the two columns' names"
                raise InputError(f"{path}: row {row + 1}: {problem}; {fix}") from None
            raise
    return sizes


def _is_file(root: Path, name: str) -> bool:
    try:
        return bool(name.strip()) and (root / name).is_file()
    except OSError:  # too long for a name
        return False


def _owners(columns: Columns) -> Rows:
    """The first row (from 0) of each row's object. A row with a blank object is its own object."""
    blank = pc.index(columns.object.values, "").as_py()
    owner = np.arange(len(columns.object.codes), dtype=np.int32)
    keyed = np.flatnonzero(columns.object.codes != blank)
    if len(keyed):
        key = columns.image.codes[keyed].astype(np.int64) * len(columns.object.values)
        key += columns.object.codes[keyed]
        order = np.argsort(key, kind="stable")
        key = key[order]
        begins = np.append(True, key[1:] != key[:-1])
        lengths = np.diff(np.flatnonzero(np.append(begins, True)))
        owner[keyed[order]] = keyed[order[begins]].repeat(lengths)
    return owner


def _splits(columns: Columns, rows: Rows) -> pa.DictionaryArray:
    """The split of some rows; train if blank."""
    values = columns.split.values
    names = pc.if_else(pc.equal(values, ""), "train", values).dictionary_encode()
    codes = pa.array(columns.split.codes[rows])
    return pa.DictionaryArray.from_arrays(names.indices.take(codes), names.dictionary)


def _check_splits(path: Path, columns: Columns, owner: Rows) -> None:
    codes = columns.split.codes
    for row in np.flatnonzero(codes != codes[owner]):
        said, known = _splits(columns, np.array([row, owner[row]], np.int32)).to_pylist()
        if said != known:
            contradict(path, int(row), "split", said, int(owner[row]), known)


def _repeats(columns: Columns) -> list[str]:
    """A remark with the number of rows that repeat an earlier one."""
    mixed = columns.hashes.copy()
    for column, factor in ((columns.image, IMAGE_FACTOR), (columns.object, OBJECT_FACTOR)):
        mixed ^= column.codes.astype(np.uint64) * factor
    mixed.sort()
    number = int(np.count_nonzero(mixed[1:] == mixed[:-1]))
    if not number:
        return []
    repeated = "repeat an earlier one (same image, object and sentence)"
    return [f"{counted(number, 'row')} kept that {repeated}"]
