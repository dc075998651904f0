"""Supplied Parquet tables with columns of another type, missing columns or damaged bytes."""

import datetime
import decimal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from tests.fuzz.mutate import Choices
from tris_core.data import rle
from tris_core.data.index import Index
from tris_core.evaluation.mask_files import read_masks
from tris_core.responses.supplied import supplied_labels, supplied_responses

COUNTS = rle.encode(np.eye(40, 60, dtype=bool))
STRUCT = {"size": [40, 60], "counts": COUNTS}
VALUES: tuple[list[Any], ...] = (
    [None, None], [True, None], [0, -1], [2**63 - 1, -(2**63)], [0.5, float("nan")],
    [1e300, -float("inf")],
    ["", " "], ["a.png", "\x00"], ["é" * 6000, "a"], ["7", "5.0"], ["1 1 4 5", "nan nan 1 1"],
    ['{"size": [40, 60]}', "{"],
    [b"", b"\xff"], [COUNTS, None], [b"0" * 100, COUNTS],
    [[], None], [[None], [1]], [[0.0] * 20, [float("nan")] * 20],
    [[1.0, 1.0, 4.0, 5.0], [4, 4, 1, 1]], [[[1]], [[]]],
    [STRUCT, None], [{"size": None, "counts": None}, STRUCT],
    [{"size": [None, 60], "counts": COUNTS}, STRUCT], [{"counts": {"a": 1}}, {}], [{}, None],
    [decimal.Decimal("1.5"), None], [datetime.date(2020, 1, 1), None],
    [datetime.timedelta(1), None],
)  # fmt: skip
KINDS = (
    pa.large_string(), pa.large_binary(), pa.binary(3), pa.string_view(),
    pa.float16(), pa.float32(), pa.uint64(), pa.int8(),
    pa.large_list(pa.float32()), pa.list_(pa.float64(), 20), pa.list_(pa.int64(), 4),
    pa.map_(pa.string(), pa.int64()),
    pa.dictionary(pa.int8(), pa.string()), pa.dictionary(pa.int32(), pa.int64()),
    pa.timestamp("ns", "UTC"),
    pa.struct([("size", pa.list_(pa.int32(), 2)), ("counts", pa.large_string())]),
)  # fmt: skip

Columns = dict[str, list[Any]]
SIZE: Columns = {"height": [40, 40], "width": [60, 60]}
LIST: Columns = {
    "image": ["a.png", "a.png"],
    "sentence": ["a cup", "b, c"],
    "object": [1, 2],
    "split": ["train", "train"],
    "mask": [STRUCT, None],
    "height": [40, None],
    "width": [60, None],
    "box": [[1.0, 1.0, 4.0, 5.0], None],
}
MASKS: Columns = {
    "expression_id": [0, 1],
    **SIZE,
    "counts": [COUNTS, COUNTS],
    "score": [0.5, 0.1],
    "x": [1, 2],
    "y": [1, 2],
}
MAPS: Columns = {
    "expression_id": [0, 1],
    "height": [5, 5],
    "width": [4, 4],
    "map": [[0.5] * 20, [0.1] * 20],
}
LABELS: Columns = {"ref_id": [0, 1], **SIZE, "counts": [COUNTS, COUNTS]}
IDS = pd.DataFrame({"expression_id": [0, 1]})
REFS = pd.DataFrame({"ref_id": [0, 1], "image_id": [0, 0], "split": "train"})
IMAGES = pd.DataFrame({"image_id": [0], "height": [40], "width": [60]})

READERS: dict[str, tuple[Columns, Callable[[Path], object]]] = {
    "masks_table": (MASKS, read_masks),
    "responses_table": (MAPS, lambda path: supplied_responses(path, IDS)),
    "labels_table": (
        LABELS,
        lambda path: supplied_labels(path, Index.of(refs=REFS, images=IMAGES)),
    ),
}


def table_target(
    path: Path, columns: Columns, read: Callable[[Path], object]
) -> Callable[[bytes, Choices], None]:
    """A target that reads a valid table with one to three odd columns or some damaged bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)

    def target(data: bytes, choices: Choices) -> None:
        damaged = choices.ConsumeIntInRange(0, 3) == 0
        arrays = {name: pa.array(values) for name, values in columns.items()}
        for _ in range(0 if damaged else choices.ConsumeIntInRange(1, 3)):
            _change(arrays, choices)
        compression = ("none", "snappy", "zstd")[choices.ConsumeIntInRange(0, 2)]
        try:
            pq.write_table(pa.table(arrays), path, compression=compression)
        except pa.ArrowException:
            return  # pyarrow cannot write it
        if damaged:
            _damage(path, choices)
        read(path)

    return target


def _change(arrays: dict[str, pa.Array], choices: Choices) -> None:
    names = list(arrays)
    name = names[choices.ConsumeIntInRange(0, len(names) - 1)]
    what = choices.ConsumeIntInRange(0, len(VALUES) + len(KINDS))
    if what < len(VALUES):
        arrays[name] = pa.array(VALUES[what])
    elif what < len(VALUES) + len(KINDS):
        try:
            arrays[name] = arrays[name].cast(KINDS[what - len(VALUES)])
        except pa.ArrowException:
            arrays[name] = pa.nulls(len(arrays[name]), KINDS[what - len(VALUES)])
    elif len(names) > 1:
        del arrays[name]


def _damage(path: Path, choices: Choices) -> None:
    content = bytearray(path.read_bytes())
    for _ in range(choices.ConsumeIntInRange(1, 4)):
        content[choices.ConsumeIntInRange(0, len(content) - 1)] = choices.ConsumeIntInRange(0, 255)
    path.write_bytes(content)
