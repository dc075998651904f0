"""A tiny list of pictures and sentences, with masks and boxes."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from tris_core.annotations.index import Annotations, build_index
from tris_core.data import rle

HEIGHT, WIDTH = 10, 14
MASK = np.zeros((HEIGHT, WIDTH), bool)
MASK[2:5, 4:9] = True
BARE = rle.encode(MASK).decode()


def cell(counts: str, height: int = HEIGHT, width: int = WIDTH) -> str:
    return json.dumps({"size": [height, width], "counts": counts})


RUNS = cell(BARE)
OTHER = cell(rle.encode(~MASK).decode())

Row = dict[str, Any]
OBJECT = {"image": "b.png", "sentence": "x", "object": "1"}
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
        table = {column: [row.get(column) for row in rows] for column in columns}
        pq.write_table(pa.table(table), root / name)
    else:
        with (root / name).open("w", newline="") as file:
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            for row in rows:
                box = row.get("box")
                as_text = {"box": " ".join(map(str, box))} if isinstance(box, list) else {}
                writer.writerow({**row, **as_text})
    return root


def build(root: Path, rows: list[Row], name: str = "my.csv", **options: Any) -> Annotations:
    """Write the list and three pictures to `root`, and build the index."""
    return build_index(write(root, rows, name), "list", "none", name, **options)
