"""Compute the response maps of every expression."""

from collections import deque
from pathlib import Path
from typing import Any

import pandas as pd

from stages._artifacts import (
    IMAGES,
    PACKED,
    RESPONSES,
    STEP1,
    TOKENS,
    expressions_with_images,
    open_images,
    read_clip,
)
from stages._stage import Run, run_stage, stage_app
from tris_core.baselines import BASELINES
from tris_core.clip.sources import load_clip
from tris_core.clip.tokens import read_tokens
from tris_core.data.grouping import Rows, RowsByImage
from tris_core.data.packed import packed_size
from tris_core.responses.file import raw_maps, write_responses
from tris_core.responses.supplied import supplied_responses
from tris_core.runtime.device import pick_device, place
from tris_core.runtime.distributed import rank
from tris_core.runtime.parquet import read_table
from tris_core.runtime.progress import progress
from tris_core.step1.inference import GROUP, response_maps
from tris_core.step1.network import build_step1
from tris_core.step1.params import DumpResponsesParams
from tris_core.weights.model_folder import load_model

app = stage_app()
COLUMNS = ["expression_id", "ref_id", "image_id", "split"]


@app.command()
def main() -> None:
    """Compute the response map of every expression of every split (Eq. 2).

    Inputs: data/index (images, refs, expressions), data/packed.json, data/tokens.parquet,
    models/step1 (models/clip.json for a baseline), params dump_responses.
    Output: data/responses.parquet, one row per expression. `map` is row-major float32 at stride 32
    (for a ViT, the side of its patches), before ReLU and up-sampling.

    With dump_responses.from, responses made elsewhere are checked and copied instead.

    1. Encode every image once. 2. Score every expression in a forward of its own. 3. Write row
    groups as they are computed.
    """
    with run_stage("dump_responses", ranks=True) as run:
        params = run.params[DumpResponsesParams]
        table, image_of = expressions_with_images(read_table(IMAGES))
        if params.source is None:
            compute(run, params, table, image_of)
        elif not rank():
            copy_supplied(run, Path(params.source), table, image_of)


def compute(run: Run, params: DumpResponsesParams, table: pd.DataFrame, image_of: Rows) -> None:
    device = pick_device(run.runtime)
    _, packed = open_images(run)
    model, clip, text = responder(params)
    place(model, device)
    tokens = read_tokens(TOKENS, table["text"], clip["vocabulary"], text)
    maps = response_maps(model, packed, image_of, tokens, device=device, precision=params.precision)
    if rank():
        deque(maps, maxlen=0)  # compute this rank's share; rank 0 gets the maps
        return
    with (
        write_responses(RESPONSES, packed.size) as write,
        progress(len(table), "responses") as bar,
    ):
        for rows, part in maps:
            write(table[COLUMNS].iloc[rows], part)
            bar.update(len(rows))
    height, width = part.shape[1:]
    megabytes = RESPONSES.stat().st_size / 1e6
    run.say(f"{RESPONSES}: {len(table)} maps of {height} x {width}, {megabytes:.1f} MB")


def responder(params: DumpResponsesParams) -> tuple[Any, dict[str, Any], dict[str, Any]]:
    """The network of `method`, its CLIP, and how its text is tokenised."""
    if params.method == "step1":
        model, config = load_model(STEP1, "Step-1", build_step1)
        return model, config["clip"], config["text"]
    described = read_clip()
    backbone = described["backbone"]
    baseline = BASELINES[params.method](load_clip(backbone), backbone["name"])
    return baseline, backbone, described["text"]


def copy_supplied(run: Run, source: Path, table: pd.DataFrame, image_of: Rows) -> None:
    maps = supplied_responses(source, table)
    with write_responses(RESPONSES, packed_size(PACKED)) as write:
        for rows in RowsByImage(image_of, GROUP):
            write(table[COLUMNS].iloc[rows], raw_maps(maps.iloc[rows]).numpy())
    run.say(f"{RESPONSES}: {len(maps)} maps taken from {source}")


if __name__ == "__main__":
    app()
