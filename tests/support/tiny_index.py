"""A tiny index of three images with random masks, and random predictions for it."""

from pathlib import Path

import numpy as np
import pandas as pd

from tris_core.data.index import Index
from tris_core.data.rle import encode
from tris_core.data.truth import Truth
from tris_core.runtime.parquet import write_table

SIZES = {1: (12, 17), 2: (9, 30), 3: (20, 11)}
REFS = pd.DataFrame(
    [
        (10, 1, 100, 5, "dog", "val"),
        (11, 1, 101, 5, "dog", "val"),
        (12, 2, 102, 6, None, "val"),
        (13, 3, 103, 5, "dog", "train"),
        (14, 1, 104, 6, None, "val"),
    ],
    columns=["ref_id", "image_id", "ann_id", "category_id", "category", "split"],
)
EXPRESSIONS = pd.DataFrame(
    [
        (0, 10, "dog"),
        (1, 10, "dog on the LEFT, please"),
        (2, 11, "the brown dog that sits and looks at us"),
        (3, 11, "a dog which is neither the black one nor the leftovers but brown"),
        (4, 12, "brown cat"),
        (5, 13, "dog"),
        (6, 14, "a cat upfront"),
    ],
    columns=["expression_id", "ref_id", "text"],
)
INDEX = Index.of(refs=REFS, expressions=EXPRESSIONS)


def blob(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """A rectangle and some specks, (height, width) bool; never empty."""
    mask = rng.random((height, width)) > 0.95
    y, x = rng.integers(0, height - 3), rng.integers(0, width - 3)
    mask[y : y + rng.integers(3, height), x : x + rng.integers(3, width)] = True
    return mask


def make_truth(seed: int = 0) -> pd.DataFrame:
    """The table of truth.parquet, by random masks."""
    rng, rows = np.random.default_rng(seed), []
    for ref in REFS.itertuples():
        height, width = SIZES[ref.image_id]
        mask = blob(rng, height, width)
        y, x = np.nonzero(mask)
        box = (float(x.min()), float(y.min()), x.max() + 1.0, y.max() + 1.0)
        rows.append((ref.ref_id, *box, int(mask.sum()), height, width, encode(mask)))
    return pd.DataFrame(
        rows, columns=["ref_id", "x0", "y0", "x1", "y1", "area", "height", "width", "counts"]
    )


TRUTH = Truth(make_truth())


def write_index(folder: Path, seed: int = 0) -> Path:
    """Write refs and expressions to `folder`, and tokens and truth beside it. Returns `folder`."""
    folder.mkdir(parents=True)
    counts = EXPRESSIONS["text"].str.split().str.len() + 2
    tokens = EXPRESSIONS[["expression_id"]].assign(tokens=counts, cut=counts > 10)
    for name, table in (
        ("refs", REFS),
        ("expressions", EXPRESSIONS),
        ("tokens", tokens),
        ("truth", make_truth(seed)),
    ):
        parent = folder.parent if name in ("tokens", "truth") else folder
        write_table(parent / f"{name}.parquet", table)
    return folder


def make_predictions(seed: int) -> pd.DataFrame:
    """The table of predictions.parquet. Some masks are empty, some full."""
    rng, rows = np.random.default_rng(seed), []
    for row in INDEX.joined().itertuples():
        height, width = SIZES[row.image_id]
        mask = blob(rng, height, width)
        if rng.random() < 0.2:
            mask[:] = rng.random() < 0.5
        x, y = int(rng.integers(width)), int(rng.integers(height))
        score = np.float32(rng.random())
        rows.append(
            (row.expression_id, row.ref_id, row.split, height, width, encode(mask), score, x, y)
        )
    columns = ["expression_id", "ref_id", "split", "height", "width", "counts", "score", "x", "y"]
    return pd.DataFrame(rows, columns=columns)
