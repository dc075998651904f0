"""Step-2 training (Sec. 3.4): the batch of a step, and its losses.

Shapes: B images, T tokens, S the side of an image.
"""

from dataclasses import dataclass
from functools import partial

import cv2
import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from tris_core.data.grouping import Rows
from tris_core.data.packed import PackedImages
from tris_core.data.rle import decode
from tris_core.data.transforms import normalise
from tris_core.runtime import distributed
from tris_core.runtime.device import autocast
from tris_core.runtime.threads import map_in_threads
from tris_core.step2.average import RunningAverage
from tris_core.step2.network import Step2, deep_supervision_losses
from tris_core.step2.params import TrainStep2Params
from tris_core.training.samples import TrainingRefs
from tris_core.training.task import Batch, Losses


@dataclass(frozen=True)
class Step2Batch(Batch):
    """A rank's part of a step: B refs, each with a sentence and a pseudo-label, and their images.

    Attributes:
        step: Number of the step.
        squares: Images, (I, S, S, 3) uint8.
        image_of: Row in `squares` of each ref's image, (B,) int64. None if I is B.
        tokens: Token ids, (B, T).
        labels: Pseudo-labels, (B, 1, S, S) uint8 of 0 and 1.
    """

    step: int
    squares: Tensor
    image_of: Tensor | None
    tokens: Tensor
    labels: Tensor


class TrainingLabels:
    """Pseudo-labels at training size by row, decoded once and kept with one bit a pixel."""

    def __init__(self, labels: pd.DataFrame, size: int) -> None:
        """`labels` has a row per ref: counts, height, width."""
        self._size = size
        rows = labels[["counts", "height", "width"]].itertuples(index=False)
        made = map_in_threads(partial(_packed, size=size), rows)
        self._bits = np.stack(list(made))

    def __getitem__(self, rows: Rows) -> Tensor:
        """Labels (B, 1, size, size), uint8 of 0 and 1."""
        bits = np.unpackbits(self._bits[rows], axis=1, count=self._size**2)
        return torch.from_numpy(bits.reshape(-1, 1, self._size, self._size))


def _packed(label: tuple[bytes, int, int], size: int) -> NDArray[np.uint8]:
    """The bits of a label, resized with nearest neighbour as in the release."""
    mask = decode(*label).astype(np.uint8)
    return np.packbits(cv2.resize(mask, (size, size), interpolation=cv2.INTER_NEAREST) > 0)


@dataclass(frozen=True)
class Step2Batches:
    """Draws the batch of any step: refs, a random sentence of each, and their pseudo-labels.

    Attributes:
        images: All images at training size.
        refs: The refs to train on.
        labels: Their pseudo-labels.
        tokens: Token ids of all expressions, (L, T).
        params: Batch size and random seed.
        device: Where the batch will go.
    """

    images: PackedImages
    refs: TrainingRefs
    labels: TrainingLabels
    tokens: Tensor
    params: TrainStep2Params
    device: torch.device

    def __call__(self, step: int) -> Step2Batch:
        rng = np.random.default_rng([self.params.seed, 1, step])
        batch = self._refs_of(step)
        part = distributed.part(len(batch))
        text, batch = self.refs.draw_text(batch, rng)[part], batch[part]
        pictures, image_of = self.refs.pictures(batch, shared=self.params.share_images)
        made = Step2Batch(
            step=step,
            squares=self.images[pictures],
            image_of=image_of,
            tokens=self.tokens[text],
            labels=self.labels[batch],
        )
        return made.pin(self.device)

    def describe(self, step: int) -> str:
        return self.refs.describe(self._refs_of(step))

    def _refs_of(self, step: int) -> Rows:
        params = self.params
        return self.refs.batch(step, params.batch, params.seed, by_image=params.share_images)


class Step2Objective(nn.Module):
    """The losses of a batch: `head1` .. `head4`, finest first, and their weighted `total`.

    With `average` there is also `ema`, the consistency term of the release: the mean squared
    distance between the probabilities of all four heads and those of the running average. See
    docs/paper_vs_code.md#ema.
    """

    def __init__(
        self,
        model: Step2,
        average: RunningAverage | None,
        params: TrainStep2Params,
        device: torch.device,
    ) -> None:
        super().__init__()
        self.model, self.average = model, average
        self.params, self.device = params, device

    def forward(self, batch: Step2Batch) -> Losses:
        batch = batch.to(self.device)
        image = normalise(batch.squares, self.model.pixels)
        if self.average is not None:
            self.average.update(self.model, steps=batch.step)
        with autocast(self.device, self.params.precision):
            logits = self.model(image, batch.tokens, batch.image_of)
        heads = deep_supervision_losses([logit.float() for logit in logits], batch.labels.float())
        total = torch.zeros((), device=self.device)
        for weight, loss in zip(self.params.head_weights, heads, strict=True):
            total = total + weight * loss
        losses = {f"head{i}": loss for i, loss in enumerate(heads, start=1)}
        if self.average is not None:
            losses["ema"] = self._consistency(self.average, logits, image, batch)
            total = total + losses["ema"]
        return {"total": total, **losses}

    def _consistency(
        self, average: RunningAverage, logits: list[Tensor], image: Tensor, batch: Step2Batch
    ) -> Tensor:
        with torch.no_grad(), autocast(self.device, self.params.precision):
            steady = average(image, batch.tokens, batch.image_of)
        distances = [
            F.mse_loss(logit.float().sigmoid(), target.float().sigmoid())
            for logit, target in zip(logits, steady, strict=True)
        ]
        return torch.stack(distances).sum()
