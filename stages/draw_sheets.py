"""Draw the result of each step for some expressions."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from torch import Tensor

from stages._artifacts import (
    PREDICTIONS,
    PSEUDO_LABELS,
    RESPONSES,
    SHEETS,
    check_keys,
    checked_root,
    open_index,
    open_truth,
)
from stages._stage import run_stage, stage_app
from tris_core.data.images import read_image
from tris_core.data.truth import Truth
from tris_core.drawing.sheets import SheetRow, write_sheet
from tris_core.evaluation.records import by_image, stored_mask
from tris_core.responses.file import ResponseFile
from tris_core.runtime.files import replacing
from tris_core.runtime.frames import ready
from tris_core.runtime.parquet import read_table
from tris_core.runtime.threads import set_threads

app = stage_app()
SHEET_ROWS = 6


@app.command()
def main() -> None:
    """Draw one sheet per split: image, response map, pseudo-label, prediction and true mask.

    Inputs: data/index (images, refs, expressions), the image files, data/packed.json (their
    hashes), data/responses.parquet, data/pseudo_labels.parquet, data/predictions.parquet,
    data/truth.parquet. Output: metrics/sheets.

    1. Choose images evenly over each split, and the first expression of each. 2. Draw a row for
    each expression.
    """
    with run_stage("draw_sheets") as run:
        set_threads(run.runtime)
        index = open_index()
        check_keys(index, RESPONSES, PSEUDO_LABELS, PREDICTIONS)
        table = index.joined()
        responses = ResponseFile(RESPONSES, evenly(table))
        sizes = index.refs.merge(index.images, on="image_id").set_index("ref_id")
        rows = SheetRows(
            texts=table.set_index("expression_id")["text"],
            paths=index.images.set_index("image_id")["path"],
            folder=checked_root(run, index.images),
            labels=read_table(PSEUDO_LABELS).set_index("ref_id"),
            predictions=read_table(PREDICTIONS).set_index("expression_id"),
            truth=open_truth(),
        )
        drawn = list(by_image(responses, sizes, responses.size, rows))
        with replacing(SHEETS) as folder:
            folder.mkdir()
            for split in table["split"].unique():
                chosen = [row for part in drawn for of, row in part if of == split]
                write_sheet(folder / f"{split}.png", chosen)
        run.say(f"{SHEETS}: {sum(map(len, drawn))} expressions")


def evenly(table: pd.DataFrame) -> "pd.Series[int]":
    """Ids of `SHEET_ROWS` expressions per split, spread evenly over its images."""
    chosen = []
    for _, firsts in table.drop_duplicates(["split", "image_id"]).groupby("split"):
        positions = np.linspace(0, len(firsts) - 1, SHEET_ROWS).round().astype(int)
        chosen.append(firsts["expression_id"].iloc[np.unique(positions)])
    return pd.concat(chosen)


@dataclass(frozen=True)
class SheetRows:
    """Makes the sheet rows of one image's expressions.

    `texts` and `predictions` are by expression_id, `paths` by image_id, `labels` by ref_id.
    """

    texts: "pd.Series[str]"
    paths: "pd.Series[str]"
    folder: Path
    labels: pd.DataFrame
    predictions: pd.DataFrame
    truth: Truth

    def __post_init__(self) -> None:
        ready(self.texts, self.paths, self.labels, self.predictions)

    def __call__(self, found: pd.DataFrame, maps: Tensor) -> list[tuple[str, SheetRow]]:
        """Split and row of each expression in `found`; `maps` (N, H, W) are theirs, in [0, 1]."""
        pairs = zip(found.itertuples(), maps.numpy(), strict=True)
        return [(row.split, self._row(row, response)) for row, response in pairs]

    def _row(self, row: Any, response: NDArray[np.float32]) -> SheetRow:
        return SheetRow(
            sentence=self.texts[row.expression_id],
            image=read_image(self.folder / self.paths[row.image_id]),
            response=response,
            pseudo_label=_mask_of(self.labels, row.ref_id),
            prediction=_mask_of(self.predictions, row.expression_id),
            truth=self.truth.mask(row.ref_id) if row.ref_id in self.truth else None,
        )


def _mask_of(table: pd.DataFrame, key: int) -> NDArray[np.bool_] | None:
    return stored_mask(table.loc[key]) if key in table.index else None


if __name__ == "__main__":
    app()
