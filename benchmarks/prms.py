"""PRMS of an object with four expressions of 20 tokens: ours, against encoding image and sentence anew for every pair."""

import numpy as np
import torch
import torch.nn.functional as F
from open_clip.model import CLIP
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import _inputs
from benchmarks._measure import device, matmul_rate, row, seconds, show
from tris_core.clip.towers import encode_words, sentence_feature
from tris_core.prms.scores import cumulative_scores, masked_by_responses, similarities
from tris_core.step1.scorer import SentenceFeatures

EXPRESSIONS, SIZE, GRID = 4, 320, 10


@torch.inference_mode()
def main() -> None:
    torch.manual_seed(0)
    scorer = _inputs.scorer()
    image = torch.randn(1, 3, SIZE, SIZE, device=device())
    maps = torch.randn(EXPRESSIONS, GRID, GRID, device=device())
    tokens = _inputs.sentences(EXPRESSIONS).to(device())

    def ours() -> Tensor:
        sentences = SentenceFeatures(scorer, tokens, device())[np.arange(EXPRESSIONS)]
        masked = masked_by_responses(image, maps, size=224, mask="relu")
        return cumulative_scores(
            similarities(scorer, masked, sentences), torch.zeros(EXPRESSIONS, device=device())
        )

    with FlopCounterMode(display=False) as counted:
        score = ours()
    assert torch.allclose(score, pair_by_pair(scorer, image, maps, tokens), atol=1e-4)
    twin = seconds(lambda: pair_by_pair(scorer, image, maps, tokens))
    show(
        [
            row(
                "prms M=4",
                seconds(ours),
                twin=twin,
                floor=counted.get_total_flops() / matmul_rate(),
                device=str(device()),
            )
        ]
    )


def pair_by_pair(scorer: CLIP, image: Tensor, maps: Tensor, tokens: Tensor) -> Tensor:
    """Eq. 10 as its sum is written: both towers for every pair of map and sentence."""
    scores = torch.zeros(len(maps), device=maps.device)
    for t in range(len(maps)):
        for sentence in tokens:
            masked = masked_by_responses(image, maps[t : t + 1], size=224, mask="relu")
            seen = F.normalize(scorer.encode_image(masked), dim=1)
            word = encode_words(scorer, sentence[None])
            scores[t] += (
                seen * F.normalize(sentence_feature(scorer, word, sentence[None]), dim=1)
            ).sum()
    return scores
