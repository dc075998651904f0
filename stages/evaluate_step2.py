"""Predict with Step-2 and judge it."""

from collections import deque
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from torch import Tensor

from stages._artifacts import (
    EVALUATION,
    METRICS,
    PREDICTIONS,
    PSEUDO_LABELS,
    RESPONSES,
    SHEETS,
    STEP2,
    TOKENS,
    TRUTH,
    expressions_with_images,
    image_folder,
    open_images,
)
from stages._keys import check_keys
from stages._stage import PARAMS, spread_stage, stage_app
from tris_core.clip.tokenizer import tokenize
from tris_core.data.images import read_image
from tris_core.data.packed import PackedImages
from tris_core.data.rle import decode
from tris_core.drawing.sheets import SheetRow, write_sheet
from tris_core.evaluation.outputs import unmeasured, write_evaluation
from tris_core.evaluation.params import EvaluateStep2Params
from tris_core.evaluation.records import by_image, score_rows
from tris_core.responses.file import ResponseFile
from tris_core.runtime.device import pick_device, place
from tris_core.runtime.distributed import rank
from tris_core.runtime.files import replacing
from tris_core.runtime.frames import concat, ready
from tris_core.runtime.params import RuntimeParams, load_section
from tris_core.runtime.parquet import read_table, write_table
from tris_core.runtime.progress import progress
from tris_core.step1.params import TrainStep1Params
from tris_core.step2.inference import predict_by_image, to_rows
from tris_core.step2.network import build_step2
from tris_core.step2.params import TrainStep2Params
from tris_core.weights.model_folder import load_model

app = stage_app()
SHEET_ROWS = 6


@app.command()
def main() -> None:
    """Predict a mask for every expression, measure it against the truth and draw some.

    Inputs: data/index/{images,refs,expressions,tokens,truth}.parquet, the image files, data/packed.json, models/step2,
    data/responses.parquet, data/pseudo_labels.parquet (for the pictures), params evaluate_step2, train_step1.selection and
    train_step2.selection. Outputs:
    data/predictions.parquet (expression_id, ref_id, split, height, width, counts, score, x, y), metrics/step2.json,
    data/evaluation/step2 (every metric, one record per expression, metrics by kind of expression), metrics/sheets.

    1. Encode every image once and every expression with it. 2. Keep masks at the image's own size, with the highest
    probability and its pixel. 3. Compare these rows, and nothing else, with the truth. 4. Reduce per split. Expressions
    without a true mask are predicted, not measured; a split without any does not appear in the metrics.
    """
    with spread_stage("evaluate_step2") as say:
        params = load_section(PARAMS, EvaluateStep2Params)
        images, packed = open_images()
        table, image_of = expressions_with_images(images)
        check_keys(RESPONSES, PSEUDO_LABELS, TOKENS)
        truth = read_table(TRUTH).set_index("ref_id")
        predictions = predict(params, table, image_of, images.set_index("image_id"), packed)
        if predictions is None:
            return
        made = table[["expression_id", "ref_id", "split"]].merge(
            predictions, on="expression_id", validate="1:1"
        )
        made = made.sort_values("expression_id", ignore_index=True)
        write_table(PREDICTIONS, made)
        trainings = load_section(PARAMS, TrainStep1Params), load_section(PARAMS, TrainStep2Params)
        about = {
            "threshold": params.threshold,
            "rule": "logit > threshold, at the image's own size",
            "box_input": "binary",
            "masks_chose_anything": any(training.selection != "last" for training in trainings),
        }
        scores = score_rows(made[made["ref_id"].isin(truth.index)], truth)
        summary = write_evaluation(
            scores,
            truth,
            PREDICTIONS,
            METRICS / "step2.json",
            EVALUATION / "step2",
            about,
            min_box_fraction=params.min_box_fraction,
        )
        draw_sheets(table, images, truth, made.set_index("expression_id"), packed.size)
        for split, metrics in summary.items():
            say(
                f"{split}: mIoU {metrics['mIoU']:.3f}, oIoU {metrics['oIoU']:.3f}, PointM {metrics['PointM']:.3f}"
            )
        for clause in unmeasured(len(table), len(scores)):
            say(clause)


def predict(
    params: EvaluateStep2Params,
    table: pd.DataFrame,
    image_of: NDArray[np.int64],
    size_of: pd.DataFrame,
    packed: PackedImages,
) -> pd.DataFrame | None:
    """The rows of all expressions (`to_rows`), image by image; of several processes rank 0 has them, the others None."""
    device = pick_device(load_section(PARAMS, RuntimeParams))
    model, config = load_model(STEP2, "Step-2", build_step2)
    place(model, device)
    tokens = tokenize(table["text"].tolist(), config["clip"]["vocabulary"], config["text"])

    ready(table, size_of)

    def keep(rows: NDArray[np.int64], logits: Tensor) -> pd.DataFrame:
        part = table.iloc[rows]
        height, width = size_of.loc[part["image_id"].iloc[0], ["height", "width"]]
        ids = part["expression_id"].to_numpy()
        return to_rows(ids, logits.cpu(), height=height, width=width, threshold=params.threshold)

    kept = predict_by_image(
        model, packed, image_of, tokens, keep, device=device, precision=params.precision
    )
    if rank():
        deque(kept, maxlen=0)  # its share
        return None
    with progress(len(table), "predictions") as bar:

        def counted(rows: pd.DataFrame) -> pd.DataFrame:
            bar.update(len(rows))
            return rows

        return concat(map(counted, kept))


def draw_sheets(
    table: pd.DataFrame,
    images: pd.DataFrame,
    truth: pd.DataFrame,
    predictions: pd.DataFrame,
    size: int,
) -> None:
    """One sheet per split: expressions evenly spread over its images, the first of each image's."""
    labels, texts = (
        read_table(PSEUDO_LABELS).set_index("ref_id"),
        table.set_index("expression_id")["text"],
    )
    paths = images.set_index("image_id")["path"]
    sizes = (
        table[["ref_id", "image_id"]]
        .drop_duplicates("ref_id")
        .merge(images, on="image_id")
        .set_index("ref_id")
    )

    ready(labels, texts, paths, predictions, truth)

    def mask(row: pd.Series) -> NDArray[np.bool_]:
        return decode(row["counts"], row["height"], row["width"])

    def draw(found: pd.DataFrame, maps: Tensor) -> list[tuple[str, SheetRow]]:
        return [
            (row.split, draw_row(row, response.numpy()))
            for row, response in zip(found.itertuples(), maps, strict=True)
        ]

    def draw_row(row: Any, response: NDArray[np.float32]) -> SheetRow:
        return SheetRow(
            sentence=texts[row.expression_id],
            image=read_image(image_folder() / paths[row.image_id]),
            response=response,
            pseudo_label=mask(labels.loc[row.ref_id]) if row.ref_id in labels.index else None,
            prediction=mask(predictions.loc[row.expression_id]),
            truth=mask(truth.loc[row.ref_id]) if row.ref_id in truth.index else None,
        )

    shown = []
    for _, firsts in table.drop_duplicates(["split", "image_id"]).groupby("split"):
        shown.append(
            firsts["expression_id"].iloc[
                np.unique(np.linspace(0, len(firsts) - 1, SHEET_ROWS).round().astype(int))
            ]
        )
    drawn = [
        row
        for rows in by_image(ResponseFile(RESPONSES, pd.concat(shown)), sizes, size, draw)
        for row in rows
    ]
    with replacing(SHEETS) as folder:
        folder.mkdir()
        for split in table["split"].unique():
            write_sheet(folder / f"{split}.png", [row for of, row in drawn if of == split])


if __name__ == "__main__":
    app()
