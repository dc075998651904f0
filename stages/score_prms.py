"""Select one response map per object."""

import numpy as np
import pandas as pd
import torch

from stages._artifacts import (
    PRMS,
    RESPONSES,
    TOKENS,
    expressions_with_images,
    open_images,
    read_clip,
)
from stages._stage import run_stage, stage_app
from tris_core.clip.sources import load_clip
from tris_core.clip.tokens import read_tokens
from tris_core.data.transforms import normalise
from tris_core.prms.params import ScorePrmsParams
from tris_core.prms.scores import cumulative_scores, masked_by_responses, similarities
from tris_core.responses.file import ResponseFile, raw_maps
from tris_core.runtime.device import pick_device, place
from tris_core.runtime.distributed import map_over_ranks, rank
from tris_core.runtime.parquet import write_table
from tris_core.runtime.progress import progress
from tris_core.step1.scorer import SentenceFeatures

app = stage_app()


@app.command()
def main() -> None:
    """Select, of every object's response maps, the one its sentences agree on most (Eq. 10).

    Inputs: data/index (images, refs, expressions), data/tokens.parquet, data/packed.json, models/clip.json, data/responses.parquet, params
    score_prms. Output: data/prms.parquet (ref_id, expression_id, score, selected), one row per expression.

    1. Encode every sentence once with the scorer. 2. Mask the image with each of an object's maps and encode it once.
    3. Add up the similarities with all of the object's sentences; the highest sum is selected.
    """
    with run_stage("score_prms", ranks=True) as run:
        params = run.params[ScorePrmsParams]
        device = pick_device(run.runtime)
        images, packed = open_images(run)
        table, image_of = expressions_with_images(images)
        clip = read_clip()
        scorer = place(load_clip(clip["scorer"]).eval(), device)
        tokens = read_tokens(TOKENS, table["text"], clip["scorer"]["vocabulary"], clip["text"])
        sentences = SentenceFeatures(scorer, tokens, device)
        size = clip["scorer"]["config"]["vision_cfg"]["image_size"]
        place_of = pd.Series(range(len(table)), index=table["expression_id"])

        def score(group: pd.DataFrame) -> pd.DataFrame:
            rows = place_of.loc[group["expression_id"]].to_numpy()
            here, local = np.unique(image_of[rows], return_inverse=True)
            image = normalise(packed[here].to(device))[torch.from_numpy(local).to(device)]
            masked = masked_by_responses(
                image, raw_maps(group).to(device), size=size, mask=params.mask
            )
            similarity = similarities(scorer, masked, sentences[rows])
            objects = torch.from_numpy(group["ref_id"].to_numpy()).to(device)
            return group[["ref_id", "expression_id"]].assign(
                score=cumulative_scores(similarity, objects).cpu().numpy()
            )

        scores = []
        with progress(len(table), "PRMS") as bar:
            for part in map_over_ranks(ResponseFile(RESPONSES), score):
                scores.append(part)
                bar.update(len(part))
        if rank():
            return
        made = pd.concat(scores).sort_values("ref_id", kind="stable", ignore_index=True)
        best = made.groupby("ref_id")["score"].transform("idxmax")  # the first of equals
        made["selected"] = made.index == best
        write_table(PRMS, made)
        run.say(f"{PRMS}: one map for each of {made['ref_id'].nunique()} refs, out of {len(table)}")
        run.say(sentences.describe())


if __name__ == "__main__":
    app()
