"""Eq. 10 against the numbers of the released implementation."""

import torch

from tests.golden.reference import close, formula_input, golden, scorer
from tris_core.prms.scores import cumulative_scores, similarities
from tris_core.step1.scorer import Scorer


@torch.no_grad()
def test_selection_equals_the_release() -> None:
    g, aux = golden("prms"), Scorer(scorer(), size=224)
    tokens = torch.from_numpy(g["tokens"])
    image = formula_input("prms.image", (1, 3, 320, 320))
    maps = torch.from_numpy(g["raw"])[:, 0]
    similarity = similarities(aux, image, maps, aux.sentence(tokens), "relu")
    close(similarity, g["similarity"])
    score = cumulative_scores(similarity, torch.zeros(len(tokens)))
    close(score, g["cumulative"])
    assert int(score.argmax()) == int(g["selected"])


def test_each_object_is_scored_by_its_own_sentences() -> None:
    similarity = torch.rand(7, 7, generator=torch.Generator().manual_seed(0))
    objects = torch.tensor([4, 9, 4, 4, 2, 9, 4])
    score = cumulative_scores(similarity, objects)
    for one in objects.unique():
        rows = torch.nonzero(objects == one).flatten()
        torch.testing.assert_close(score[rows], similarity[rows][:, rows].sum(1))
