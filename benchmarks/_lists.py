"""Generate a list of sentences in CSV, of any length, on tiny images."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
from PIL import Image

CHUNK = 500_000  # rows written at a time
SIDE = 8  # width and height of an image in pixels
VAL = 100  # one image in this many is in the split val


def write_list(folder: Path, pictures: int, rows: int) -> Path:
    """Write `pictures` image files and a list.csv of `rows` sentences; return the list's path.

    Row r (from 0) describes image r % `pictures`. Every object has a single sentence.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(pictures):
        colour = number % 256, number // 256 % 256, number // 65536
        Image.new("RGB", (SIDE, SIDE), colour).save(folder / f"{number:06d}.png")
    path = folder / "list.csv"
    chunks = _chunks(pictures, rows)
    first = next(chunks)
    with pyarrow.csv.CSVWriter(path, first.schema) as writer:
        writer.write_batch(first)
        for chunk in chunks:
            writer.write_batch(chunk)
    return path


def _chunks(pictures: int, rows: int) -> Iterator[pa.RecordBatch]:
    for start in range(0, max(rows, 1), CHUNK):
        number = np.arange(start, min(start + CHUNK, rows))
        picture = number % pictures
        image = pc.utf8_lpad(pa.array(picture).cast(pa.string()), 6, "0")
        columns = {
            "image": pc.binary_join_element_wise(image, ".png", ""),
            "sentence": pc.binary_join_element_wise(
                "the thing number", pa.array(number).cast(pa.string()), "here", " "
            ),
            "object": pa.array(number).cast(pa.string()),
            "split": pa.array(np.where(picture % VAL, "train", "val")),
        }
        yield pa.RecordBatch.from_pydict(columns)
