"""Eq. 10 against the released implementation's numbers."""

import numpy as np
import torch
import torch.nn.functional as F

from tests.golden.reference import close, formula_input, golden, scorer
from tris_core.models.clip import encode_words, sentence_feature
from tris_core.prms import cumulative_scores, masked_by_responses, similarities


@torch.no_grad()
def test_selection_is_the_released_one() -> None:
    g, aux = golden("prms"), scorer()
    tokens = torch.from_numpy(g["tokens"])
    sentences = F.normalize(sentence_feature(aux, encode_words(aux, tokens), tokens), dim=1)
    image = formula_input("prms.image", (1, 3, 320, 320))
    masked = masked_by_responses(image, torch.from_numpy(g["raw"])[:, 0], size=224, mask="relu")
    similarity = similarities(aux, masked, sentences)
    close(similarity, g["similarity"])
    close(cumulative_scores(similarity), g["cumulative"])
    assert int(cumulative_scores(similarity).argmax()) == int(g["selected"])


def test_first_of_equal_scores_wins() -> None:
    assert int(np.argmax(cumulative_scores(torch.tensor([[1.0, 2.0], [2.0, 1.0]])).numpy())) == 0
