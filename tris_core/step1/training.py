"""Step-1 training (Sec. 3.3): the batch of a step, its losses, and the optimizer's groups."""

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from open_clip.model import CLIP
from torch import Tensor

from tris_core.data.packed import PackedImages
from tris_core.data.transforms import normalise
from tris_core.runtime import distributed
from tris_core.runtime.device import autocast, pin
from tris_core.runtime.threads import ahead
from tris_core.step1.losses import (
    classification_loss,
    image_level_score,
    negative_term,
    positive_term,
)
from tris_core.step1.negatives import CalibrationNegatives, classification_columns
from tris_core.step1.network import Step1
from tris_core.step1.params import TrainStep1Params
from tris_core.step1.scorer import SentenceFeatures, masked_image
from tris_core.training.loop import Losses
from tris_core.training.samples import Rows, TrainingRefs


def step1_losses(
    model: Step1,
    scorer: CLIP,
    scorer_size: int,
    images: PackedImages,
    refs: TrainingRefs,
    tokens: Tensor,
    sentences: SentenceFeatures,
    params: TrainStep1Params,
    device: torch.device,
) -> Callable[[int], Losses]:
    """The function that `fit` calls: step -> {cls, pos, neg, total}, of this process's part of the batch.

    `tokens` (L, T) and `sentences` are rows of the expressions table.
    """
    negatives = CalibrationNegatives(refs, params.cal_negatives.k, params.cal_negatives.fill)
    weights = params.loss

    @ahead
    def read(step: int) -> tuple[Tensor, Rows, Rows, Rows, Tensor, Tensor, Tensor]:
        rng = np.random.default_rng([params.seed, 1, step])
        batch = refs.batch(step, params.batch, params.seed)
        text = refs.draw_text(batch, rng)
        fillers = negatives.draw(batch, rng)
        pool, columns, positive, counted = classification_columns(refs, batch, params, rng)
        drawn = refs.draw_text(pool, rng)
        part = distributed.part(len(batch))
        squares = pin(images[refs.image[batch[part]]], device)
        return (
            squares,
            text[part],
            drawn,
            fillers[part],
            columns[part],
            positive[part],
            counted[part],
        )

    def losses(step: int) -> Losses:
        squares, text, drawn, fillers, columns, positive, counted = read(step)
        image = normalise(squares.to(device, non_blocking=True))
        with autocast(device, params.precision):
            vis = model.encode_image(image)
            lan = model.encode_text(tokens[np.concatenate([text, drawn])].to(device))
            everybody = torch.cat([distributed.gather(lan[: len(text)]), lan[len(text) :]])
            response = model.respond(vis, everybody[columns.to(device)]).float()
        own = response[torch.arange(len(text), device=device), positive.to(device)]
        score = image_level_score(response, **params.mask_size.model_dump())
        parts = {"cls": classification_loss(score, positive.to(device), counted.to(device))}
        if weights.pos or weights.neg:
            with autocast(device, params.precision):
                seen = scorer.encode_image(masked_image(image, own, size=scorer_size)).float()
            seen = F.normalize(seen, dim=1)
            parts["pos"] = positive_term((seen * sentences[text]).sum(1), eps=weights.eps)
            similarity = torch.einsum("be,bke->bk", seen, sentences[fillers])
            parts["neg"] = negative_term(
                similarity, eps=weights.eps, reduction=weights.neg_reduction
            )
        total = sum(
            (getattr(weights, name) * value for name, value in parts.items()),
            torch.zeros((), device=device),
        )
        return {"total": total, **parts}

    return losses
