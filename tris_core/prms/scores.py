"""Positive response map selection (Sec. 3.4, Eq. 10): of an object's response maps, the one its sentences agree on most."""

import torch
import torch.nn.functional as F
from open_clip.model import CLIP
from torch import Tensor

from tris_core.step1.scorer import resize_for_scorer


def masked_by_responses(image: Tensor, response_MHW: Tensor, *, size: int, mask: str) -> Tensor:
    """I * up(R_t) for M maps, (M, 3, size, size), from their normalised images (M, 3, S, S), or one image (1, 3, S, S).

    `relu` masks with the un-normalised positive response, as released (values may exceed 1); `sigmoid` as in training.
    """
    upsampled = F.interpolate(
        response_MHW[:, None], image.shape[2:], mode="bilinear", align_corners=False
    )
    positive = upsampled.relu() if mask == "relu" else upsampled.sigmoid()
    return resize_for_scorer(positive, size) * resize_for_scorer(image, size)


@torch.inference_mode()
def similarities(scorer: CLIP, masked_M3SS: Tensor, sentences_ME: Tensor) -> Tensor:
    """S(I, R_t, Q_m) of Eq. 9, (M, M): row t is a map, column m a sentence; cosine similarities of unit features (M, E)."""
    return F.normalize(scorer.encode_image(masked_M3SS), dim=1) @ sentences_ME.T


def cumulative_scores(similarity_MM: Tensor, object_M: Tensor) -> Tensor:
    """CS_t of Eq. 10, (M,): what map t scores with all sentences of its object, its own included. The first maximum wins.

    `object_M` tells whose the maps and sentences are, so that several objects can be scored at once.
    """
    return (similarity_MM * (object_M[:, None] == object_M)).sum(1)
