"""Positive response map selection (Sec. 3.4, Eq. 10): of an object's response maps, the one its sentences agree on most."""

import torch
import torch.nn.functional as F
from open_clip.model import CLIP
from torch import Tensor

from tris_core.losses import resize_for_scorer


def masked_by_responses(image: Tensor, response_MHW: Tensor, *, size: int, mask: str) -> Tensor:
    """I * up(R_t) for all M maps of an object, (M, 3, size, size), from the normalised image (1, 3, S, S).

    `relu` masks with the un-normalised positive response, as released (values may exceed 1); `sigmoid` as in training.
    """
    upsampled = F.interpolate(response_MHW[:, None], image.shape[2:], mode="bilinear", align_corners=False)
    positive = upsampled.relu() if mask == "relu" else upsampled.sigmoid()
    return resize_for_scorer(positive, size) * resize_for_scorer(image, size)


@torch.inference_mode()
def similarities(scorer: CLIP, masked_M3SS: Tensor, sentences_ME: Tensor) -> Tensor:
    """S(I, R_t, Q_m) of Eq. 9, (M, M): row t is a map, column m a sentence; cosine similarities of unit features (M, E)."""
    return F.normalize(scorer.encode_image(masked_M3SS), dim=1) @ sentences_ME.T


def cumulative_scores(similarity_MM: Tensor) -> Tensor:
    """CS_t of Eq. 10, (M,): what map t scores with all sentences of its object, its own included. The first maximum wins."""
    return similarity_MM.sum(1)
