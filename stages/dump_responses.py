"""Response maps of every expression."""

from collections import deque
from pathlib import Path
from typing import Any

from stages._artifacts import (
    PACKED,
    RESPONSES,
    STEP1,
    TOKENS,
    open_index,
    open_packed,
    read_clip,
)
from stages._stage import run_stage, stage_app
from tris_core.baselines import BASELINES
from tris_core.clip.sources import load_clip
from tris_core.clip.tokens import read_tokens
from tris_core.data.grouping import RowsByImage
from tris_core.data.packed import packed_size
from tris_core.responses.file import raw_maps, write_responses
from tris_core.responses.supplied import supplied_responses
from tris_core.runtime.device import pick_device, place
from tris_core.runtime.distributed import rank
from tris_core.runtime.progress import progress
from tris_core.step1.inference import GROUP, response_maps
from tris_core.step1.network import build_step1
from tris_core.step1.params import DumpResponsesParams
from tris_core.weights.clip_spec import ClipSpec, Text
from tris_core.weights.configs import Step1Config
from tris_core.weights.model_folder import load_model

app = stage_app()


@app.command()
def main() -> None:
    """Compute the response map of every expression of every split (Eq. 2).

    Inputs: data/index (images, refs, expressions), data/tokens.parquet, data/packed.json, models/step1 (of a baseline
    models/clip.json), params dump_responses. Output: data/responses.parquet, one row per expression; `map` is row-major float32
    at stride 32 (of a ViT the side of its patches), before ReLU and up-sampling. With dump_responses.from responses made
    elsewhere are checked and copied instead.

    1. Encode every image once. 2. Score every expression in a forward of its own. 3. Write row groups as they come.
    """
    with run_stage("dump_responses", ranks=True) as run:
        params = run.params[DumpResponsesParams]
        index = open_index()
        table = index.joined()
        image_of = index.image_rows(table["image_id"])
        columns = table[["expression_id", "ref_id", "image_id", "split"]]
        if params.source is not None:
            if rank():
                return
            maps = supplied_responses(Path(params.source), table)
            with write_responses(RESPONSES, packed_size(PACKED)) as write:
                for rows in RowsByImage(image_of, GROUP):
                    write(columns.iloc[rows], raw_maps(maps.iloc[rows]).numpy())
            run.say(f"{RESPONSES}: {len(maps)} maps taken from {params.source}")
            return
        device = pick_device(run.runtime)
        packed = open_packed(run, index)
        model, clip, text = responder(params)
        place(model, device)
        tokens = read_tokens(TOKENS, table["text"], clip.vocabulary, text)
        maps = response_maps(
            model, packed, image_of, tokens, device=device, precision=params.precision
        )
        if rank():
            deque(maps, maxlen=0)  # its share
            return
        with (
            write_responses(RESPONSES, packed.size) as write,
            progress(len(table), "responses") as bar,
        ):
            for rows, part in maps:
                write(columns.iloc[rows], part)
                bar.update(len(rows))
        run.say(
            f"{RESPONSES}: {len(table)} maps of {part.shape[1]} x {part.shape[2]}, {RESPONSES.stat().st_size / 1e6:.1f} MB"
        )


def responder(params: DumpResponsesParams) -> tuple[Any, ClipSpec, Text]:
    """The network that `method` names, the description of its CLIP, and how its text is tokenized."""
    if params.method == "step1":
        model, config = load_model(STEP1, Step1Config, build_step1)
        return model, config.clip, config.text
    described = read_clip()
    backbone = described.backbone
    network = BASELINES[params.method](load_clip(backbone), backbone.name)
    return network, backbone, described.text


if __name__ == "__main__":
    app()
