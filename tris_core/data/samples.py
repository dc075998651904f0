"""Which image, sentence and negatives make up a training batch: a function of (seed, step), so that any step can be redone.

Rows are positions in the tables of the index: `image` rows in images, `text` rows in expressions.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pandas as pd

from tris_core.data.grouping import Rows


@lru_cache(maxsize=2)  # the epoch of this step, and the one that the reader thread has begun
def epoch_order(count: int, seed: int, epoch: int) -> Rows:
    """The permutation (count,) of an epoch, read-only. Drawn once, then every step of the epoch takes a slice of it."""
    order = np.random.default_rng([seed, 0, epoch]).permutation(count)
    order.setflags(write=False)
    return order


@dataclass(frozen=True)
class TrainingRefs:
    """The refs of one split: `ref_id`, `image` row (R,), and the rows of their expressions `text[start : start + count]`."""

    ref_id: Rows
    image: Rows
    start: Rows
    count: Rows

    @staticmethod
    def from_index(images: pd.DataFrame, refs: pd.DataFrame, expressions: pd.DataFrame, split: str) -> "TrainingRefs":
        """Expressions must be sorted by ref, as `index` writes them."""
        chosen = refs[refs["split"] == split]
        image_row = pd.Series(np.arange(len(images)), index=images["image_id"])
        owner = expressions["ref_id"].to_numpy()
        start = np.searchsorted(owner, chosen["ref_id"])
        stop = np.searchsorted(owner, chosen["ref_id"], side="right")
        image = image_row.loc[chosen["image_id"]].to_numpy(np.int64)
        return TrainingRefs(chosen["ref_id"].to_numpy(np.int64), image, start, stop - start)

    def with_shuffled_sentences(self, seed: int) -> "TrainingRefs":
        """Every image gets the sentences of another one (all refs of an image move together)."""
        distinct, position = np.unique(self.image, return_inverse=True)
        order = np.random.default_rng(seed).permutation(len(distinct))
        other = np.empty_like(order)
        other[order] = np.roll(order, 1)
        return TrainingRefs(self.ref_id, distinct[other[position]], self.start, self.count)

    def batch(self, step: int, size: int, seed: int) -> Rows:
        """Positions (size,) of the refs of a step: epochs are permutations, an incomplete last batch is left out."""
        size = min(size, len(self.image))
        per_epoch = len(self.image) // size
        first = step % per_epoch * size
        return epoch_order(len(self.image), seed, step // per_epoch)[first : first + size]

    def describe(self, step: int, size: int, seed: int) -> str:
        """The batch of a step in words: its refs' ids."""
        return f"ref_id {', '.join(map(str, self.ref_id[self.batch(step, size, seed)]))}"

    def draw_text(self, refs: Rows, rng: np.random.Generator) -> Rows:
        """One expression row per ref, drawn uniformly from the ref's own."""
        return self.start[refs] + (rng.random(len(refs)) * self.count[refs]).astype(np.int64)


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
            chosen = rng.choice(others, self.k) if len(others) else self._elsewhere(group, self.k, rng)
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
