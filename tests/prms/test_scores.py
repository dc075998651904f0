"""Eq. 10 against the released implementation's numbers."""

import torch
import torch.nn.functional as F

from tests.golden.reference import close, formula_input, golden, scorer
from tris_core.clip.towers import encode_words, sentence_feature
from tris_core.prms.scores import cumulative_scores, masked_by_responses, similarities


@torch.no_grad()
def test_selection_is_the_released_one() -> None:
    g, aux = golden("prms"), scorer()
    tokens = torch.from_numpy(g["tokens"])
    sentences = F.normalize(sentence_feature(aux, encode_words(aux, tokens), tokens), dim=1)
    image = formula_input("prms.image", (1, 3, 320, 320))
    masked = masked_by_responses(image, torch.from_numpy(g["raw"])[:, 0], size=224, mask="relu")
    similarity = similarities(aux, masked, sentences)
    close(similarity, g["similarity"])
    score = cumulative_scores(similarity, torch.zeros(len(tokens)))
    close(score, g["cumulative"])
    assert int(score.argmax()) == int(g["selected"])


def test_objects_are_scored_apart() -> None:
    similarity = torch.rand(7, 7, generator=torch.Generator().manual_seed(0))
    objects = torch.tensor([4, 9, 4, 4, 2, 9, 4])
    score = cumulative_scores(similarity, objects)
    for one in objects.unique():
        rows = torch.nonzero(objects == one).flatten()
        torch.testing.assert_close(score[rows], similarity[rows][:, rows].sum(1))
