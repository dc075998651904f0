"""Step-1 training (Sec. 3.3): the batch of a step, and its losses.

Shapes: B refs of I images, N1 = N + 1 sentences scored on each, P extra sentences drawn from the
data set, K calibration negatives, T tokens, S the side of an image.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from tris_core.data.grouping import Rows, each
from tris_core.data.packed import PackedImages
from tris_core.data.transforms import normalise
from tris_core.runtime import distributed
from tris_core.runtime.device import autocast
from tris_core.step1.losses import (
    classification_loss,
    image_level_score,
    negative_term,
    positive_term,
)
from tris_core.step1.negatives import CalibrationNegatives, classification_columns
from tris_core.step1.network import Step1
from tris_core.step1.params import TrainStep1Params
from tris_core.step1.scorer import Scorer, SentenceFeatures
from tris_core.training.samples import TrainingRefs
from tris_core.training.task import Batch, Losses


@dataclass(frozen=True)
class Step1Batch(Batch):
    """A rank's part of a step: B refs, each with a sentence, and their images.

    Attributes:
        squares: Images, (I, S, S, 3) uint8.
        image_of: Row in `squares` of each ref's image, (B,) int64. None if I is B.
        tokens: Token ids of the B sentences, then of the P extra ones, (B + P, T).
        columns: Sentences scored on each image, (B, N1). They count through those of all ranks,
            then the extra ones.
        positive: Column of the image's own sentence, (B,).
        counted: Which columns enter Eq. 7, (B, N1) bool.
        own: Expression rows of the images' own sentences, (B,) int64.
        negatives: Expression rows of the queries F_k of Eq. 8, (B, K) int64.
    """

    squares: Tensor
    image_of: Tensor | None
    tokens: Tensor
    columns: Tensor
    positive: Tensor
    counted: Tensor
    own: Tensor
    negatives: Tensor


class Step1Batches:
    """Draws the batch of any step."""

    def __init__(
        self,
        images: PackedImages,
        refs: TrainingRefs,
        tokens: Tensor,
        params: TrainStep1Params,
        device: torch.device,
    ) -> None:
        """`tokens` (L, T) are the token ids of all expressions."""
        self._images, self._refs, self._tokens = images, refs, tokens
        self._params, self._device = params, device
        self._negatives = CalibrationNegatives(
            refs, params.cal_negatives.k, params.cal_negatives.fill
        )

    def __call__(self, step: int) -> Step1Batch:
        rng = np.random.default_rng([self._params.seed, 1, step])
        batch = self._refs_of(step)
        own = self._refs.draw_text(batch, rng)
        negatives = self._negatives.draw(batch, own, rng)
        extra, columns, positive, counted = classification_columns(
            self._refs, batch, own, self._params.cls_negatives, rng
        )
        part = distributed.part(len(batch))
        pictures, image_of = self._refs.pictures(batch[part], shared=self._params.share_images)
        made = Step1Batch(
            squares=self._images[pictures],
            image_of=image_of,
            tokens=self._tokens[np.concatenate([own[part], extra])],
            columns=columns[part],
            positive=positive[part],
            counted=counted[part],
            own=torch.from_numpy(own[part]),
            negatives=torch.from_numpy(negatives[part]),
        )
        return made.pin(self._device)

    def describe(self, step: int) -> str:
        return self._refs.describe(self._refs_of(step))

    def _refs_of(self, step: int) -> Rows:
        params = self._params
        return self._refs.batch(step, params.batch, params.seed, by_image=params.share_images)


class Step1Objective(nn.Module):
    """The losses of a batch: `cls` (Eq. 7), `pos` and `neg` (Eq. 8), and their weighted `total`."""

    def __init__(
        self,
        model: Step1,
        scorer: Scorer,
        sentences: SentenceFeatures,
        params: TrainStep1Params,
        device: torch.device,
    ) -> None:
        super().__init__()
        self.model, self.scorer, self.sentences = model, scorer, sentences
        self.params, self.device = params, device

    def forward(self, batch: Step1Batch) -> Losses:
        batch = batch.to(self.device)
        image = normalise(batch.squares, self.model.pixels)
        response_BNHW = self._respond(image, batch)
        everyone = torch.arange(len(response_BNHW), device=self.device)
        own_BHW = response_BNHW[everyone, batch.positive]
        score_BN = image_level_score(response_BNHW, **self.params.mask_size.model_dump())
        losses = {"cls": classification_loss(score_BN, batch.positive, batch.counted)}
        weights = self.params.loss
        if weights.pos or weights.neg:
            losses |= self._calibration(own_BHW, batch)
        total = torch.zeros((), device=self.device)
        for name, loss in losses.items():
            total = total + getattr(weights, name) * loss
        return {"total": total, **losses}

    def _respond(self, image: Tensor, batch: Step1Batch) -> Tensor:
        """Responses (B, N1, H, W) to the sentences in `batch.columns` (Eq. 1-5)."""
        with autocast(self.device, self.params.precision):
            vis = each(self.model.encode_image(image), batch.image_of)
            lan = self.model.encode_text(batch.tokens)
            own, extra = lan.split([len(vis), len(lan) - len(vis)])
            lan = torch.cat([distributed.gather(own), extra])
            return self.model.respond(vis, lan[batch.columns]).float()

    def _calibration(self, own_BHW: Tensor, batch: Step1Batch) -> Losses:
        """Both terms of Eq. 8, with the similarities S of Eq. 9."""
        weights, image = self.params.loss, normalise(batch.squares, self.scorer.pixels)
        with autocast(self.device, self.params.precision):
            seen = self.scorer.seen(each(image, batch.image_of), own_BHW, "sigmoid")
        positive = (seen * self.sentences[batch.own]).sum(1)
        negative = (seen[:, None] * self.sentences[batch.negatives]).sum(2)
        return {
            "pos": positive_term(positive, eps=weights.eps),
            "neg": negative_term(negative, eps=weights.eps, reduction=weights.neg_reduction),
        }
