"""Compute the response maps of every expression."""

from collections import deque
from pathlib import Path
from typing import Any

from stages._artifacts import (
    CLIP,
    PACKED,
    RESPONSES,
    STEP1,
    TOKENS,
    check_keys,
    open_index,
    open_packed,
)
from stages._stage import Run, run_stage, stage_app
from tris_core.baselines import BASELINES
from tris_core.clip.sources import load_clip
from tris_core.clip.tokens import read_tokens
from tris_core.data.grouping import RowsByImage
from tris_core.data.index import Index
from tris_core.data.packed import packed_size
from tris_core.responses.file import raw_maps, write_responses
from tris_core.responses.supplied import supplied_responses
from tris_core.runtime.device import pick_device, place
from tris_core.runtime.distributed import rank
from tris_core.runtime.errors import counted
from tris_core.runtime.progress import progress
from tris_core.step1.inference import GROUP, response_maps
from tris_core.step1.network import build_step1
from tris_core.step1.params import DumpResponsesParams
from tris_core.weights.clip_spec import ClipPair, ClipSpec, Text
from tris_core.weights.configs import Step1Config
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
        index = open_index()
        if params.source is None:
            compute(run, params, index)
        elif not rank():
            copy_supplied(run, Path(params.source), index)


def compute(run: Run, params: DumpResponsesParams, index: Index) -> None:
    check_keys(index, TOKENS)
    device = pick_device(run.runtime, params.precision)
    packed, table = open_packed(run, index), index.joined()
    image_of = index.image_rows(table["image_id"])
    model, clip, text = responder(params)
    place(model, device)
    tokens = read_tokens(TOKENS, table["text"], clip.vocabulary, text)
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
    run.say(f"{RESPONSES}: {counted(len(table), 'map')} of {height} x {width}, {megabytes:.1f} MB")


def responder(params: DumpResponsesParams) -> tuple[Any, ClipSpec, Text]:
    """The network of `method`, its CLIP, and how its text is tokenised."""
    if params.method == "step1":
        model, config = load_model(STEP1, Step1Config, build_step1)
        return model, config.clip, config.text
    pair = ClipPair.read(CLIP)
    clip = pair.backbone.with_own_tower()
    return BASELINES[params.method](load_clip(clip), clip.name, clip.pixels), clip, pair.text


def copy_supplied(run: Run, source: Path, index: Index) -> None:
    table = index.joined()
    maps = supplied_responses(source, table)
    with write_responses(RESPONSES, packed_size(PACKED)) as write:
        for rows in RowsByImage(index.image_rows(table["image_id"]), GROUP):
            write(table[COLUMNS].iloc[rows], raw_maps(maps.iloc[rows]).numpy())
    run.say(f"{RESPONSES}: {counted(len(maps), 'map')} taken from {source}")


if __name__ == "__main__":
    app()
