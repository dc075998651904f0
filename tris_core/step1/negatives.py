"""Negative sentences: the columns of Eq. 7 and the calibration negatives of Eq. 8."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from tris_core.data.grouping import Rows
from tris_core.step1.params import TrainStep1Params
from tris_core.training.samples import TrainingRefs


class Columns(NamedTuple):
    """Which sentences are scored on which image (Eq. 7).

    Attributes:
        extra: Refs drawn in addition to the batch, (P,).
        columns: Positions among the sentences of batch and extra refs, (B, 1 + N).
        positive: Column of the image's own sentence, (B,).
        counted: Which columns enter the loss, (B, 1 + N) bool.
    """

    extra: Rows
    columns: Tensor
    positive: Tensor
    counted: Tensor


def classification_columns(
    refs: TrainingRefs, batch: Rows, params: TrainStep1Params, rng: np.random.Generator
) -> Columns:
    """Choose the sentences of Eq. 7 for the refs `batch` (B,)."""
    size = len(batch)
    if params.cls_negatives.source == "batch":
        extra = np.empty(0, np.int64)
        columns = torch.arange(size).expand(size, size)
        positive = torch.arange(size)
    else:
        extra = rng.integers(len(refs.image), size=params.cls_negatives.n)
        drawn = torch.arange(size, size + len(extra)).expand(size, len(extra))
        columns = torch.cat([torch.arange(size)[:, None], drawn], dim=1)
        positive = torch.zeros(size, dtype=torch.int64)
    counted = torch.ones(columns.shape, dtype=torch.bool)
    if params.cls_negatives.exclude_same_image:
        image = torch.from_numpy(refs.image[np.concatenate([batch, extra])])
        counted = image[columns] != image[:size, None]
        counted[torch.arange(size), positive] = True
    return Columns(extra, columns, positive, counted)


class CalibrationNegatives:
    """Draws the K queries F_k of Eq. 8: sentences of other objects of the same image.

    Where an image has too few other objects, sentences of other images are added.
    """

    def __init__(self, refs: TrainingRefs, k: int, fill: str) -> None:
        self.refs, self.k, self.fill = refs, k, fill
        self._order = np.argsort(refs.image, kind="stable")
        self._image = refs.image[self._order]

    def draw(self, batch: Rows, rng: np.random.Generator) -> Rows:
        """Draw expression rows (B, K) for the refs `batch` (B,).

        `fill = "if_none"` (released) draws with replacement from the image's other refs, and from
        other images only if there are none. `fill = "up_to_k"` (paper) takes every other ref at
        most once and fills up from other images. In a data set of a single image, its own refs
        replace those of other images.
        """
        return np.stack([self._of_one(int(ref), rng) for ref in batch])

    def _of_one(self, ref: int, rng: np.random.Generator) -> Rows:
        group = self._same_image(ref)
        others = group[group != ref]
        if self.fill == "up_to_k":
            chosen = rng.permutation(others)[: self.k]
            chosen = np.concatenate([chosen, self._elsewhere(group, self.k - len(chosen), rng)])
        elif len(others):
            chosen = rng.choice(others, self.k)
        else:
            chosen = self._elsewhere(group, self.k, rng)
        return self.refs.draw_text(chosen, rng)

    def _same_image(self, ref: int) -> Rows:
        """The refs of the image of `ref`, ascending."""
        image = self.refs.image[ref]
        first, last = np.searchsorted(self._image, [image, image + 1])
        return self._order[first:last]

    def _elsewhere(self, group: Rows, n: int, rng: np.random.Generator) -> Rows:
        """Draw `n` refs that are not in `group` (ascending), or any refs if all are in it."""
        count = len(self.refs.image)
        if len(group) == count:
            return rng.integers(count, size=n)
        drawn = rng.integers(count - len(group), size=n)  # positions among the others
        return drawn + np.searchsorted(group - np.arange(len(group)), drawn, side="right")
