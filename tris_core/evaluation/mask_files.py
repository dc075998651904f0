"""Files with one mask per expression: Parquet, COCO results, or a folder of PNGs.

In memory they are a table: expression_id, height, width, counts (compressed runs,
`tris_core.data.rle`) and, if the file has them for every mask, score and the point x, y.
"""

import json
import reprlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from PIL import Image

from tris_core.data import rle
from tris_core.data.foreign import open_foreign, read_foreign, value_type
from tris_core.data.image_files import MOST_PIXELS, UNREADABLE, open_image
from tris_core.evaluation.records import stored_mask
from tris_core.runtime.errors import InputError
from tris_core.runtime.files import replacing

NEEDED, OPTIONAL = ("expression_id", "height", "width", "counts"), ("score", "x", "y")
INTEGERS = ("expression_id", "height", "width", "x", "y")


def read_masks(path: Path) -> pd.DataFrame:
    """Read the masks of a file or folder, without decoding them.

    Args:
        path: one of

            - `.parquet` with the columns above;
            - `.json`: a list of {expression_id, segmentation: {size: [height, width], counts}},
              with score, x and y if known;
            - a folder of `<expression_id>.png`, one channel, 0 for background and one other value.

    Raises:
        InputError: for any other file, a value of the wrong type, or an expression that occurs
            twice.
    """
    if path.is_dir():
        table = _read_pngs(path)
    elif path.suffix not in READERS:
        problem = "unknown format" if path.exists() else "not found"
        raise InputError(f"{path}: {problem}; give .parquet, .json or a folder")
    elif not path.is_file():
        raise InputError(f"{path}: not found")
    else:
        table = READERS[path.suffix](path)
    if table.empty:
        raise InputError(f"{path}: holds no masks")
    table = _checked(table, path)
    twice = table["expression_id"][table["expression_id"].duplicated()]
    if len(twice):
        found = f"{len(twice)} expressions occur twice, first {twice.iloc[0]}"
        raise InputError(f"{path}: {found}; give one mask each")
    return table


def _read_parquet(path: Path) -> pd.DataFrame:
    file = open_foreign(path)
    schema = file.schema_arrow
    if absent := [column for column in NEEDED if column not in schema.names]:
        raise InputError(f"{path}: has no column {absent[0]}; needed are {', '.join(NEEDED)}")
    columns = [column for column in (*NEEDED, *OPTIONAL) if column in schema.names]
    for column in columns:
        if pa.types.is_nested(kind := value_type(schema.field(column).type)):
            fix = "give numbers, and counts as compressed runs"
            raise InputError(f"{path}: column {column} is {kind}; {fix}")
    return read_foreign(file, path, columns).to_pandas()


def _read_coco(path: Path) -> pd.DataFrame:
    try:
        records = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: not JSON ({error})") from error
    if not isinstance(records, list):
        raise InputError(f"{path}: holds a {type(records).__name__}; COCO results are a list")
    return pd.DataFrame([_row(record, f"{path}: record {i}") for i, record in enumerate(records)])


def _row(record: Any, where: str) -> dict[str, Any]:
    segmentation = record.get("segmentation") if isinstance(record, dict) else None
    if not isinstance(segmentation, dict) or "expression_id" not in record:
        raise InputError(f"{where}: needs expression_id and segmentation with size and counts")
    size = segmentation.get("size")
    if not isinstance(size, list) or [*map(type, size)] != [int, int] or min(size) < 1:
        raise InputError(f"{where}: size is {reprlib.repr(size)}; give [height, width]")
    if size[0] * size[1] > MOST_PIXELS:
        found = f"size is {size[0]} x {size[1]}, more than {MOST_PIXELS:,} pixels"
        raise InputError(f"{where}: {found}; give the image's size")
    try:
        counts, _ = rle.from_segmentation(segmentation, size[0], size[1], "drop")
    except ValueError as error:
        raise InputError(f"{where}: {error}") from error
    given = {column: record[column] for column in OPTIONAL if column in record}
    return {
        "expression_id": record["expression_id"],
        "height": size[0],
        "width": size[1],
        "counts": counts,
        **given,
    }


def _checked(table: pd.DataFrame, path: Path) -> pd.DataFrame:
    """The table with integer columns as int64 and counts as bytes.

    Raises `InputError` for missing values, wrong types, impossible sizes, or x without y.
    """
    if ("x" in table) != ("y" in table):
        raise InputError(f"{path}: has only one of x and y; give both or neither")
    for column in table:
        missing = table[column].isna()
        if missing.any():
            fix = "give it for every mask, or for none"
            raise InputError(f"{path}: {column} of row {missing.argmax()} is missing; {fix}")
        if column in INTEGERS and not pd.api.types.is_integer_dtype(table[column]):
            found = f"{column} is {table[column].iloc[0]!r} in the first row"
            raise InputError(f"{path}: {found}; integers are needed")
    counts = [runs.encode() if isinstance(runs, str) else runs for runs in table["counts"]]
    if not all(isinstance(runs, bytes) for runs in counts):
        kind = type(table["counts"].iloc[0]).__name__
        raise InputError(f"{path}: counts hold {kind}; give COCO's compressed runs")
    sides = table[["height", "width"]].to_numpy(object)  # Python integers cannot overflow
    if (vast := np.flatnonzero((sides < 1).any(1) | (sides.prod(1) > MOST_PIXELS))).size:
        size = " x ".join(map(str, sides[vast[0]]))
        found = f"mask of row {vast[0]} is {size} (height x width), which no image is"
        raise InputError(f"{path}: {found}; write it again")
    integers = {column: "int64" for column in INTEGERS if column in table}
    return table.assign(counts=counts).astype(integers)


def _read_pngs(folder: Path) -> pd.DataFrame:
    return pd.DataFrame(_masks_of(folder), columns=[*NEEDED])


def _masks_of(folder: Path) -> Iterator[tuple[int, int, int, bytes]]:
    for path in sorted(folder.iterdir()):
        if path.suffix != ".png" or not path.stem.isdecimal() or str(int(path.stem)) != path.stem:
            fix = "keep only masks in the folder"
            raise InputError(f"{path}: is not named <expression_id>.png; {fix}")
        try:
            with open_image(path) as image:
                pixels = np.asarray(image)
        except UNREADABLE as error:
            raise InputError(f"{path}: cannot be read as an image ({error})") from error
        if pixels.ndim != 2:
            raise InputError(f"{path}: has {pixels.shape[2]} channels; a mask has one")
        mask = pixels > 0
        if mask.any() and len(levels := np.unique(pixels[mask])) > 1:
            found = f"holds {len(levels)} values over 0"
            raise InputError(f"{path}: {found}; a mask is 0 and one other value")
        yield int(path.stem), *mask.shape, rle.encode(mask)


READERS = {".parquet": _read_parquet, ".json": _read_coco}


def write_coco(masks: pd.DataFrame, path: Path) -> None:
    """Write COCO results as `read_masks` reads them, with score and point if `masks` has them.

    Raises `InputError` if `path` is a folder.
    """
    if path.is_dir():
        raise InputError(f"{path}: is a folder; name a file")
    kept = [column for column in OPTIONAL if column in masks]
    records = [
        {
            "expression_id": row["expression_id"],
            "segmentation": {
                "size": [row["height"], row["width"]],
                "counts": row["counts"].decode(),
            },
            **{column: row[column] for column in kept},
        }
        for row in masks.to_dict("records")
    ]
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(records) + "\n")


def write_pngs(masks: pd.DataFrame, folder: Path) -> None:
    """Write a PNG of 0 and 255 per mask, named <expression_id>.png, without scores and points.

    Raises `InputError` if `folder` exists and is not empty.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder}: exists and is not an empty folder; name another")
    with replacing(folder) as temporary:
        temporary.mkdir()
        for row in masks.itertuples():
            pixels = stored_mask(row).astype(np.uint8) * 255
            Image.fromarray(pixels).save(temporary / f"{row.expression_id}.png")
