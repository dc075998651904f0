"""Predict a mask for every expression."""

from collections import deque
from functools import partial

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from torch import Tensor

from stages._artifacts import PREDICTIONS, STEP2, TOKENS, expressions_with_images, open_images
from stages._stage import run_stage, stage_app
from tris_core.clip.tokens import read_tokens
from tris_core.runtime.device import pick_device, place
from tris_core.runtime.distributed import rank
from tris_core.runtime.frames import concat, ready
from tris_core.runtime.parquet import write_table
from tris_core.runtime.progress import counted, progress
from tris_core.step2.inference import predict_by_image, to_rows
from tris_core.step2.network import build_step2
from tris_core.step2.params import PredictStep2Params
from tris_core.weights.configs import Step2Config
from tris_core.weights.model_folder import load_model

app = stage_app()


@app.command()
def main() -> None:
    """Predict a mask for every expression of every split with Step-2.

    Inputs: data/index (images, refs, expressions), data/tokens.parquet,
    data/packed.json, models/step2, params
    predict_step2. Output: data/predictions.parquet (expression_id, ref_id, split, height, width,
    counts, score, x, y).

    1. Encode every image once. 2. Segment it once per expression. 3. Keep the mask at the image's
    own size, the highest probability and its pixel.
    """
    with run_stage("predict_step2", ranks=True) as run:
        params = run.params[PredictStep2Params]
        device = pick_device(run.runtime)
        images, packed = open_images(run)
        table, image_of = expressions_with_images(images)
        model, config = load_model(STEP2, Step2Config, build_step2)
        place(model, device)
        tokens = read_tokens(TOKENS, table["text"], config.clip.vocabulary, config.text)
        sizes = images.set_index("image_id")[["height", "width"]]
        ready(table, sizes)
        keep = partial(mask_rows, table=table, sizes=sizes, threshold=params.threshold)
        parts = predict_by_image(
            model, packed, image_of, tokens, keep, device=device, precision=params.precision
        )
        if rank():
            deque(parts, maxlen=0)  # does its share; rank 0 has the rows
            return
        with progress(len(table), "predictions") as bar:
            predictions = concat(counted(parts, bar))
        made = table[["expression_id", "ref_id", "split"]].merge(
            predictions, on="expression_id", validate="1:1"
        )
        write_table(PREDICTIONS, made.sort_values("expression_id", ignore_index=True))
        run.say(f"{PREDICTIONS}: {len(made)} masks of {len(images)} images")


def mask_rows(
    rows: NDArray[np.int64],
    logits: Tensor,
    *,
    table: pd.DataFrame,
    sizes: pd.DataFrame,
    threshold: float,
) -> pd.DataFrame:
    """`to_rows` for the expressions in `rows` of `table`, all of one image, and their logits (N, S, S)."""
    part = table.iloc[rows]
    height, width = sizes.loc[part["image_id"].iloc[0]]
    ids = part["expression_id"].to_numpy()
    return to_rows(ids, logits.cpu(), height=height, width=width, threshold=threshold)


if __name__ == "__main__":
    app()
