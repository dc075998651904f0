"""The losses of Step-1, one function per equation.

Shapes: B images, N1 = N + 1 expressions scored on each of them, K calibration negatives.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def mask_size_term(response_BNHW: Tensor, *, power: float, lam: float, background: float) -> Tensor:
    """psi of Eq. 6, (B, N1): (1 - m)^power log(lam + m). See docs/paper_vs_code.md#mask-size.

    m is the mean share of the image that a response takes up. The share is a soft-max over all N1
    responses and a constant `background` logit, so the maps compete with each other.
    """
    constant = torch.full_like(response_BNHW[:, :1], background)
    share = torch.softmax(torch.cat([constant, response_BNHW], dim=1), dim=1)[:, 1:].mean(
        dim=(2, 3)
    )
    return (1 - share) ** power * torch.log(lam + share)


def image_level_score(
    response_BNHW: Tensor, *, power: float = 3.0, lam: float = 0.01, background: float = 1.0
) -> Tensor:
    """y of Eq. 6, (B, N1): maximum plus mean plus mask-size term.

    A logit, not a probability: Eq. 7 applies the sigmoid.
    """
    psi = mask_size_term(response_BNHW, power=power, lam=lam, background=background)
    return response_BNHW.amax(dim=(2, 3)) + response_BNHW.mean(dim=(2, 3)) + psi


def classification_loss(score_BN: Tensor, positive_B: Tensor, counted_BN: Tensor) -> Tensor:
    """Eq. 7: multi-label soft margin, averaged over columns, then over images.

    Args:
        score_BN: Image-level scores.
        positive_B: Column of the image's own sentence, int64.
        counted_BN: Columns that enter the loss, bool.
    """
    target = F.one_hot(positive_B, score_BN.shape[1]).to(score_BN.dtype)
    per_column = F.binary_cross_entropy_with_logits(score_BN, target, reduction="none")
    return ((per_column * counted_BN).sum(1) / counted_BN.sum(1)).mean()


def positive_term(similarity_B: Tensor, *, eps: float) -> Tensor:
    """First term of Eq. 8: -log S(I, R^p, Q^p), averaged over images.

    S is clamped to [eps, 1 - eps].
    """
    return -similarity_B.clamp(eps, 1 - eps).log().mean()


def negative_term(similarity_BK: Tensor, *, eps: float, reduction: str) -> Tensor:
    """Second term of Eq. 8: -log(1 - S(I, R^p, F_k)), averaged over images.

    Over the K negatives it is a `sum` (paper) or a `mean` (released). 1 - S is at least `eps`.
    """
    per_negative = -(1 - similarity_BK).clamp(min=eps).log()
    return (per_negative.sum(1) if reduction == "sum" else per_negative.mean(1)).mean()
