"""PRMS of an object with four expressions of 20 tokens.

The plain twin encodes image and sentence anew for every pair.
"""

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from benchmarks._measure import device, matmul_rate, row, seconds, show
from benchmarks._networks import Networks
from tris_core.prms.scores import cumulative_scores, similarities
from tris_core.step1.scorer import Scorer, SentenceFeatures

EXPRESSIONS, SIZE, GRID = 4, 320, 10


@torch.inference_mode()
def main() -> None:
    torch.manual_seed(0)
    networks = Networks("paper", device())
    scorer = networks.scorer()
    image = torch.randn(1, 3, SIZE, SIZE, device=device())
    maps = torch.randn(EXPRESSIONS, GRID, GRID, device=device())
    tokens = networks.sentences(EXPRESSIONS).to(device())
    one_object = torch.zeros(EXPRESSIONS, device=device())
    everyone = torch.arange(EXPRESSIONS, device=device())

    def ours() -> Tensor:
        sentences = SentenceFeatures(scorer, tokens, device())[everyone]
        return cumulative_scores(similarities(scorer, image, maps, sentences, "relu"), one_object)

    def twin() -> Tensor:
        return pair_by_pair(scorer, image, maps, tokens)

    with FlopCounterMode(display=False) as counted:
        score = ours()
    assert torch.allclose(score, twin(), atol=1e-4)
    floor = counted.get_total_flops() / matmul_rate()
    where = str(device())
    show([row("prms M=4", seconds(ours), twin=seconds(twin), floor=floor, device=where)])


def pair_by_pair(scorer: Scorer, image: Tensor, maps: Tensor, tokens: Tensor) -> Tensor:
    """Eq. 10 as its sum is written: both towers for every pair of map and sentence."""
    scores = torch.zeros(len(maps), device=maps.device)
    for t in range(len(maps)):
        for sentence in tokens:
            seen = scorer.seen(image, maps[t : t + 1], "relu")
            scores[t] += (seen * scorer.sentence(sentence[None])).sum()
    return scores
