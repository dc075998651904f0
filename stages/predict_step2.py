"""Predict a mask for every expression."""

from collections import deque
from functools import partial

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from torch import Tensor

from stages._artifacts import PREDICTIONS, STEP2, TOKENS, check_keys, open_index, open_packed
from stages._stage import run_stage, stage_app
from tris_core.clip.tokens import read_tokens
from tris_core.runtime.device import pick_device, place
from tris_core.runtime.distributed import rank
from tris_core.runtime.frames import concat, ready
from tris_core.runtime.parquet import write_table
from tris_core.runtime.progress import advance, progress
from tris_core.step2.inference import predict_by_image, to_rows
from tris_core.step2.network import build_step2
from tris_core.step2.params import PredictStep2Params
from tris_core.weights.configs import Step2Config
from tris_core.weights.model_folder import load_model

app = stage_app()


@app.command()
def main() -> None:
    """Predict a mask for every expression of every split with Step-2.

    Inputs: data/index (images, refs, expressions), data/tokens.parquet, data/packed.json,
    models/step2, params predict_step2. Output: data/predictions.parquet (expression_id, ref_id,
    split, height, width, counts, score, x, y).

    1. Encode every image once. 2. Segment it once per expression. 3. Keep the mask at the image's
    own size, the highest probability and its pixel.
    """
    with run_stage("predict_step2", ranks=True) as run:
        params = run.params[PredictStep2Params]
        device = pick_device(run.runtime, params.precision)
        index = open_index()
        check_keys(index, TOKENS)
        packed, table = open_packed(run, index), index.joined()
        model, config = load_model(STEP2, Step2Config, build_step2)
        place(model, device)
        tokens = read_tokens(TOKENS, table["text"], config.clip.vocabulary, config.text)
        sizes = index.images.set_index("image_id")[["height", "width"]]
        ready(table, sizes)
        keep = partial(mask_rows, table=table, sizes=sizes, threshold=params.threshold)
        image_of = index.image_rows(table["image_id"])
        parts = predict_by_image(
            model, packed, image_of, tokens, keep, device=device, precision=params.precision
        )
        if rank():
            deque(parts, maxlen=0)  # compute this rank's share; rank 0 collects the rows
            return
        with progress(len(table), "predictions") as bar:
            predictions = concat(advance(parts, bar))
        made = table[["expression_id", "ref_id", "split"]].merge(
            predictions, on="expression_id", validate="1:1"
        )
        write_table(PREDICTIONS, made.sort_values("expression_id", ignore_index=True))
        run.say(f"{PREDICTIONS}: {len(made)} masks on {len(index.images)} images")


def mask_rows(
    rows: NDArray[np.int64],
    logits: Tensor,
    *,
    table: pd.DataFrame,
    sizes: pd.DataFrame,
    threshold: float,
) -> pd.DataFrame:
    """`to_rows` for the expressions in `rows` (N,) of `table`, all of one image.

    Args:
        logits: (N, S, S).
        sizes: height and width by image_id.
    """
    part = table.iloc[rows]
    height, width = sizes.loc[part["image_id"].iloc[0]]
    ids = part["expression_id"].to_numpy()
    made = to_rows(ids, logits, height=height, width=width, threshold=threshold)
    return made.astype({"height": "int32", "width": "int32"})  # as in the index


if __name__ == "__main__":
    app()
