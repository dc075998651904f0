"""Negative sentences: the columns of Eq. 7 and the calibration negatives of Eq. 8.

B images of a step, each with a ref and one of its sentences; P extra sentences of the step.
"""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tris_core.data.grouping import Rows
from tris_core.step1.params import ClsNegatives
from tris_core.training.samples import TrainingRefs

POOL = 47  # extra sentences of a step, or n if that is more: the paper's N


class Columns(NamedTuple):
    """Which sentences are scored on which image (Eq. 7).

    Attributes:
        extra: Expression rows of the sentences drawn in addition to the batch's own, (P,).
        columns: Positions among the batch's own and the extra sentences, (B, 1 + N).
        positive: Column of the image's own sentence, (B,).
        counted: Which columns enter the loss, (B, 1 + N) bool.
    """

    extra: Rows
    columns: Tensor
    positive: Tensor
    counted: Tensor


def classification_columns(
    refs: TrainingRefs, batch: Rows, own: Rows, params: ClsNegatives, rng: np.random.Generator
) -> Columns:
    """Choose the sentences of Eq. 7 for the refs `batch` (B,) with the sentences `own` (B,).

    `source = "batch"` (released) scores the batch's sentences on each of its images. `"dataset"`
    (paper) draws for every image: its N negatives come, without replacement, from the batch's
    other sentences and a pool of P more, which are encoded once for the whole step. Those that do
    not count are drawn last.
    """
    size = len(batch)
    if params.source == "batch":
        extra = np.empty(0, np.int64)
        counted = _counted(refs, batch, own, batch, own, params)
        columns = np.broadcast_to(np.arange(size), (size, size))
        positive = np.arange(size)
    else:
        others = len(refs) - size
        pool = rng.choice(others, min(max(params.n, POOL), others), replace=False)
        pool = _outside(np.sort(batch), pool)
        extra = refs.draw_text(pool, rng)
        everyone, said = np.concatenate([batch, pool]), np.concatenate([own, extra])
        counted = _counted(refs, batch, own, everyone, said, params)
        turn = rng.random(counted.shape) + ~counted  # in [0, 1) if counted, else in [1, 2)
        turn[np.arange(size), np.arange(size)] = -1  # the positive is first
        columns = turn.argsort(axis=1)[:, : 1 + params.n]
        counted = np.take_along_axis(counted, columns, axis=1)
        positive = np.zeros(size, np.int64)
    return Columns(
        extra,
        torch.from_numpy(columns.copy()),
        torch.from_numpy(positive),
        torch.from_numpy(counted),
    )


def _outside(group: Rows, positions: Rows) -> Rows:
    """The refs at these positions among those that are not in `group` (ascending)."""
    return positions + np.searchsorted(group - np.arange(len(group)), positions, side="right")


def _counted(
    refs: TrainingRefs, batch: Rows, own: Rows, scored: Rows, said: Rows, params: ClsNegatives
) -> NDArray[np.bool_]:
    """Whether each sentence counts on each image, (B, M), for refs `scored` that say `said` (M,).

    The first B are the batch itself. An image's own sentence counts, another one about the same
    object does not: it is no negative.
    """
    counted = refs.object[scored] != refs.object[batch][:, None]
    if params.exclude_same_image:
        counted &= refs.image[scored] != refs.image[batch][:, None]
    if params.exclude_duplicates:
        counted &= refs.sentence[said] != refs.sentence[own][:, None]
    np.fill_diagonal(counted, val=True)
    return counted


class CalibrationNegatives:
    """Draws the K queries F_k of Eq. 8: sentences of other objects of the same image.

    Where an image has too few other objects, sentences of other images are added: fillers.
    """

    def __init__(self, refs: TrainingRefs, k: int, fill: str) -> None:
        self.refs, self.k, self.fill = refs, k, fill
        self._order = np.argsort(refs.image, kind="stable")
        self._image = refs.image[self._order]

    def draw(self, batch: Rows, own: Rows, rng: np.random.Generator) -> Rows:
        """Draw expression rows (B, K) for the refs `batch` (B,) with the sentences `own` (B,).

        `fill = "if_none"` (released) draws with replacement from the image's refs of other objects,
        and from other images only if there are none. `fill = "up_to_k"` (paper) takes every such
        ref at most once and fills up from other images. In a data set of a single image, its own
        refs replace those of other images.

        A filler is never the positive's own sentence, unless nothing else is said elsewhere.
        """
        return np.stack(
            [self._of_one(int(r), int(o), rng) for r, o in zip(batch, own, strict=True)]
        )

    def _of_one(self, ref: int, own: int, rng: np.random.Generator) -> Rows:
        group = self._same_image(ref)
        others = group[self.refs.object[group] != self.refs.object[ref]]
        if self.fill == "up_to_k":
            inside = rng.permutation(others)[: self.k]
        else:
            inside = rng.choice(others, self.k) if len(others) else others
        fillers = self._elsewhere(group, self.k - len(inside), rng)
        texts = self.refs.draw_text(np.concatenate([inside, fillers]), rng)
        self._redraw(texts[len(inside) :], group, own, rng)
        return texts

    def _same_image(self, ref: int) -> Rows:
        """The refs of the image of `ref`, ascending."""
        image = self.refs.image[ref]
        first, last = np.searchsorted(self._image, [image, image + 1])
        return self._order[first:last]

    def _elsewhere(self, group: Rows, n: int, rng: np.random.Generator) -> Rows:
        """Draw `n` refs that are not in `group` (ascending), or any refs if all are in it."""
        count = len(self.refs)
        if len(group) == count:
            return rng.integers(count, size=n)
        return _outside(group, rng.integers(count - len(group), size=n))

    def _redraw(self, fillers: Rows, group: Rows, own: int, rng: np.random.Generator) -> None:
        """Replace, in place, fillers that say what `own` says by other sentences of other images.

        Rare, so it may look at every sentence.
        """
        said = self.refs.sentence
        same = said[fillers] == said[own]
        if not same.any():
            return
        outside = np.ones(len(self.refs), bool)
        outside[group] = len(group) == len(self.refs)
        rows = self.refs.rows(outside)
        rows = rows[said[rows] != said[own]]
        if len(rows):
            fillers[same] = rng.choice(rows, same.sum())
