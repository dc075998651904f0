"""Draw the result of each step for some expressions."""

from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from torch import Tensor

from stages._artifacts import (
    EVALUATION,
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
from tris_core.evaluation.examples import FAILURE, examples, failure
from tris_core.evaluation.metrics import ious
from tris_core.evaluation.records import by_image, stored_mask
from tris_core.responses.file import ResponseFile
from tris_core.runtime.files import replacing
from tris_core.runtime.frames import ready
from tris_core.runtime.parquet import read_table
from tris_core.runtime.threads import set_threads

app = stage_app()


@app.command()
def main() -> None:
    """Draw one sheet per split: image, response map, pseudo-label, prediction and true mask.

    Inputs: data/index (images, refs, expressions), the image files, data/packed.json (their
    hashes), data/responses.parquet, data/pseudo_labels.parquet, data/predictions.parquet,
    data/evaluation/step2 (records), data/truth.parquet. Output: metrics/sheets.

    1. Choose two images of each split, up to three refs of each, and the first expression of each
    ref. 2. Choose a failure: the expression that has a tenth of its split below it, by IoU.
    3. Draw a row for each expression.
    """
    with run_stage("draw_sheets") as run:
        set_threads(run.runtime)
        index = open_index()
        check_keys(index, RESPONSES, PSEUDO_LABELS, PREDICTIONS)
        table = index.joined()
        records = read_table(EVALUATION / "step2" / "records.parquet")
        ious_of = ious(records.set_index("expression_id"))
        chosen = {
            split: (examples(part, ious_of), failure(part, ious_of))
            for split, part in table.groupby("split", sort=False)
        }
        sizes = index.refs.merge(index.images, on="image_id").set_index("ref_id")
        rows = SheetRows(
            texts=table.set_index("expression_id")["text"],
            paths=index.images.set_index("image_id")["path"],
            folder=checked_root(run, index.images),
            labels=read_table(PSEUDO_LABELS).set_index("ref_id"),
            predictions=read_table(PREDICTIONS).set_index("expression_id"),
            truth=open_truth(),
            ious=ious_of,
        )
        wanted = {id for good, bad in chosen.values() for id in good + bad}
        responses = ResponseFile(RESPONSES, pd.Series(list(wanted)))
        drawn = dict(chain.from_iterable(by_image(responses, sizes, responses.size, rows)))
        with replacing(SHEETS) as folder:
            folder.mkdir()
            for split, (good, bad) in chosen.items():
                shown = [drawn[id] for id in good] + [failed(drawn[id]) for id in bad]
                write_sheet(folder / f"{split}.png", shown)
        run.say(f"{SHEETS}: {len(wanted)} expressions")


def failed(row: SheetRow) -> SheetRow:
    return replace(row, caption=f"{FAILURE}: {row.caption}")


@dataclass(frozen=True)
class SheetRows:
    """Makes the sheet rows of one image's expressions.

    `texts`, `predictions` and `ious` are by expression_id, `paths` by image_id, `labels` by ref_id.
    """

    texts: "pd.Series[str]"
    paths: "pd.Series[str]"
    folder: Path
    labels: pd.DataFrame
    predictions: pd.DataFrame
    truth: Truth
    ious: "pd.Series[float]"

    def __post_init__(self) -> None:
        ready(self.texts, self.paths, self.labels, self.predictions, self.ious)

    def __call__(self, found: pd.DataFrame, maps: Tensor) -> list[tuple[int, SheetRow]]:
        """Id and row of each expression in `found`; `maps` (N, H, W) are theirs, in [0, 1]."""
        pairs = zip(found.itertuples(), maps.numpy(), strict=True)
        return [(row.expression_id, self._row(row, response)) for row, response in pairs]

    def _row(self, row: Any, response: NDArray[np.float32]) -> SheetRow:
        caption = self.texts[row.expression_id]
        if row.expression_id in self.ious.index:
            caption += f" (IoU {100 * self.ious[row.expression_id]:.0f} %)"
        return SheetRow(
            caption=caption,
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
