"""Select one response map per object."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch

from stages._artifacts import CLIP, PRMS, RESPONSES, TOKENS, check_keys, open_index, open_packed
from stages._stage import run_stage, stage_app
from tris_core.clip.tokens import read_tokens
from tris_core.data.grouping import Rows
from tris_core.data.packed import PackedImages
from tris_core.data.transforms import normalise
from tris_core.prms.params import ScorePrmsParams
from tris_core.prms.scores import cumulative_scores, similarities
from tris_core.responses.file import ResponseFile, raw_maps
from tris_core.runtime.device import pick_device
from tris_core.runtime.distributed import map_over_ranks, rank
from tris_core.runtime.errors import counted
from tris_core.runtime.parquet import write_table
from tris_core.runtime.progress import advance, progress
from tris_core.step1.scorer import Mask, Scorer, SentenceFeatures
from tris_core.weights.clip_spec import ClipPair

app = stage_app()


@app.command()
def main() -> None:
    """Select the response map of every object that its sentences agree on most (Eq. 10).

    Inputs: data/index (images, refs, expressions), data/packed.json, models/clip.json,
    data/tokens.parquet, data/responses.parquet, params score_prms.
    Output: data/prms.parquet (ref_id, expression_id, score, selected), one row per expression.

    1. Encode every sentence once with the scorer. 2. Mask the image with each map of an object
    and encode it once. 3. Sum the similarities with all sentences of the object; the map with the
    highest sum is selected.
    """
    with run_stage("score_prms", ranks=True) as run:
        params = run.params[ScorePrmsParams]
        device = pick_device(run.runtime)
        index = open_index()
        check_keys(index, RESPONSES, TOKENS)
        packed, table = open_packed(run, index), index.joined()
        image_of = index.image_rows(table["image_id"])
        clip = ClipPair.read(CLIP)
        scorer = Scorer.load(clip.scorer, device, params.mask_fill)
        tokens = read_tokens(TOKENS, table["text"], clip.scorer.vocabulary, clip.text)
        sentences = SentenceFeatures(scorer, tokens, device)
        row_of = pd.Series(range(len(table)), index=table["expression_id"])
        score = ScoreMaps(scorer, sentences, packed, image_of, row_of, params.mask, device)
        with progress(len(table), "PRMS") as bar:
            scores = list(advance(map_over_ranks(ResponseFile(RESPONSES), score), bar))
        if rank():
            return
        made = pd.concat(scores).sort_values("ref_id", kind="stable", ignore_index=True)
        best = made.groupby("ref_id")["score"].transform("idxmax")  # the first of equal scores
        made["selected"] = made.index == best
        write_table(PRMS, made)
        refs = counted(made["ref_id"].nunique(), "ref")
        run.say(f"{PRMS}: one map for each of {refs}, out of {len(table)}")
        run.say(sentences.describe())


@dataclass(frozen=True)
class ScoreMaps:
    """Scores a row group of the responses, which holds all maps of some images.

    Returns its ref_id and expression_id with the score of each map (Eq. 10).
    """

    scorer: Scorer
    sentences: SentenceFeatures
    images: PackedImages
    image_of: Rows
    row_of: "pd.Series[int]"  # row of the expressions table, by expression_id
    mask: Mask
    device: torch.device

    def __call__(self, group: pd.DataFrame) -> pd.DataFrame:
        rows = self.row_of.loc[group["expression_id"]].to_numpy()
        image_rows, image_of = np.unique(self.image_of[rows], return_inverse=True)
        images = normalise(self.images[image_rows].to(self.device), self.scorer.pixels)
        similarity = similarities(
            self.scorer,
            images[torch.from_numpy(image_of).to(self.device)],
            raw_maps(group).to(self.device),
            self.sentences[torch.from_numpy(rows).to(self.device)],
            self.mask,
        )
        objects = torch.from_numpy(group["ref_id"].to_numpy()).to(self.device)
        score = cumulative_scores(similarity, objects).cpu().numpy()
        return group[["ref_id", "expression_id"]].assign(score=score)


if __name__ == "__main__":
    app()
