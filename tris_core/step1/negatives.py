"""Negative sentences: the columns of Eq. 7 and the calibration negatives of Eq. 8."""

import numpy as np
import torch
from torch import Tensor

from tris_core.data.grouping import Rows
from tris_core.step1.params import TrainStep1Params
from tris_core.training.samples import TrainingRefs


def classification_columns(
    refs: TrainingRefs, batch: np.ndarray, params: TrainStep1Params, rng: np.random.Generator
) -> tuple[np.ndarray, Tensor, Tensor, Tensor]:
    """Which sentences are scored on which image (Eq. 7).

    Returns the refs (P,) drawn in addition to the batch; columns (B, 1 + N), positions among the sentences of batch and
    drawn refs; the positive's column (B,); and which columns count (B, 1 + N).
    """
    size = len(batch)
    if params.cls_negatives.source == "batch":
        pool = np.empty(0, np.int64)
        columns = torch.arange(size).expand(size, size)
        positive = torch.arange(size)
    else:
        pool = rng.integers(len(refs.image), size=params.cls_negatives.n)
        drawn = torch.arange(size, size + len(pool)).expand(size, len(pool))
        columns = torch.cat([torch.arange(size)[:, None], drawn], dim=1)
        positive = torch.zeros(size, dtype=torch.int64)
    counted = torch.ones(columns.shape, dtype=torch.bool)
    if params.cls_negatives.exclude_same_image:
        image = torch.from_numpy(refs.image[np.concatenate([batch, pool])])
        counted = image[columns] != image[:size, None]
        counted[torch.arange(size), positive] = True
    return pool, columns, positive, counted


class CalibrationNegatives:
    """The K queries F_k of Eq. 8: expressions of other objects of the same image, filled up from other images."""

    def __init__(self, refs: TrainingRefs, k: int, fill: str) -> None:
        self.refs, self.k, self.fill = refs, k, fill
        self._order = np.argsort(refs.image, kind="stable")
        self._image = refs.image[self._order]

    def draw(self, batch: Rows, rng: np.random.Generator) -> Rows:
        """Expression rows (B, K) for refs `batch`.

        `fill = "if_none"` (released): with replacement from the image's other refs, from other images only where there is
        none. `fill = "up_to_k"` (paper): every other ref at most once, then other images. Where the data set is a single
        image, its refs stand in for other images.
        """
        return np.stack([self._of_one(int(ref), rng) for ref in batch])

    def _of_one(self, ref: int, rng: np.random.Generator) -> Rows:
        group = self._same_image(ref)
        others = group[group != ref]
        if self.fill == "if_none":
            chosen = (
                rng.choice(others, self.k) if len(others) else self._elsewhere(group, self.k, rng)
            )
        else:
            chosen = rng.permutation(others)[: self.k]
            chosen = np.concatenate([chosen, self._elsewhere(group, self.k - len(chosen), rng)])
        return self.refs.draw_text(chosen, rng)

    def _same_image(self, ref: int) -> Rows:
        """The refs of the image of `ref`, ascending."""
        image = self.refs.image[ref]
        first, last = np.searchsorted(self._image, [image, image + 1])
        return self._order[first:last]

    def _elsewhere(self, group: Rows, n: int, rng: np.random.Generator) -> Rows:
        """`n` refs drawn uniformly from those that are not in `group` (ascending); from all if there are no others."""
        count = len(self.refs.image)
        if len(group) == count:
            return rng.integers(count, size=n)
        drawn = rng.integers(count - len(group), size=n)  # positions among the others
        return drawn + np.searchsorted(group - np.arange(len(group)), drawn, side="right")
