"""Positive response map selection (PRMS, Sec. 3.4, Eq. 10).

Of an object's response maps, PRMS selects the one that all of its sentences agree on most.
Shapes: M response maps and their M sentences, E the scorer's embedding.
"""

import torch
from torch import Tensor

from tris_core.step1.scorer import Mask, Scorer


@torch.inference_mode()
def similarities(
    scorer: Scorer, image: Tensor, response_MHW: Tensor, sentences_ME: Tensor, mask: Mask
) -> Tensor:
    """S(I, R_t, Q_m) of Eq. 9 for every map t and sentence m, (M, M).

    Args:
        scorer: The frozen CLIP.
        image: The normalised image of each map (M, 3, S, S), or one for all (1, 3, S, S).
        response_MHW: Raw response maps.
        sentences_ME: Unit features of the sentences.
        mask: How a map masks the image, see `masked_image`.
    """
    return scorer.seen(image, response_MHW, mask) @ sentences_ME.T


def cumulative_scores(similarity_MM: Tensor, object_M: Tensor) -> Tensor:
    """CS_t of Eq. 10, (M,): the similarities of map t with all sentences of its object, summed.

    `object_M` is the object of each map and sentence, so several objects can be scored at once.
    """
    return (similarity_MM * (object_M[:, None] == object_M)).sum(1)
