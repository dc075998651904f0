"""Which refs and sentences make up a training batch.

A batch is a function of (seed, step), so any step can be redone. Rows are positions in the tables
of the index: `image` rows in images, `text` rows in expressions.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from tris_core.data.grouping import Rows
from tris_core.data.index import Index


@lru_cache(maxsize=2)  # the epoch of this step, and the one that prefetching has begun
def epoch_order(count: int, seed: int, epoch: int) -> Rows:
    """The permutation (count,) of an epoch, read-only. Every step of the epoch takes a slice."""
    order = np.random.default_rng([seed, 0, epoch]).permutation(count)
    order.setflags(write=False)
    return order


@dataclass(frozen=True)
class TrainingRefs:
    """The R refs of one split.

    Attributes:
        ref_id: Their ids, (R,).
        image: Image rows, (R,).
        start: First expression row of each ref, (R,).
        count: Number of expressions of each ref, in consecutive rows, (R,).
    """

    ref_id: Rows
    image: Rows
    start: Rows
    count: Rows

    @staticmethod
    def from_index(index: Index, split: str) -> "TrainingRefs":
        """The refs of a split. Expressions must be sorted by ref, as `index` writes them."""
        chosen = index.refs[index.refs["split"] == split]
        owner = index.expressions["ref_id"].to_numpy()
        start = np.searchsorted(owner, chosen["ref_id"])
        stop = np.searchsorted(owner, chosen["ref_id"], side="right")
        image = index.image_rows(chosen["image_id"])
        return TrainingRefs(chosen["ref_id"].to_numpy(np.int64), image, start, stop - start)

    def __len__(self) -> int:
        return len(self.ref_id)

    def with_shuffled_sentences(self, seed: int) -> "TrainingRefs":
        """Give every image the sentences of another one. All refs of an image move together."""
        distinct, position = np.unique(self.image, return_inverse=True)
        order = np.random.default_rng(seed).permutation(len(distinct))
        other = np.empty_like(order)
        other[order] = np.roll(order, 1)
        return TrainingRefs(self.ref_id, distinct[other[position]], self.start, self.count)

    def batch(self, step: int, size: int, seed: int) -> Rows:
        """Positions (size,) of the refs of a step.

        An epoch is a permutation of the refs, without an incomplete last batch.
        """
        size = min(size, len(self))
        per_epoch = len(self) // size
        first = step % per_epoch * size
        return epoch_order(len(self), seed, step // per_epoch)[first : first + size]

    def describe(self, step: int, size: int, seed: int) -> str:
        """The ref ids of a step's batch, such as "ref_id 3, 17"."""
        return f"ref_id {', '.join(map(str, self.ref_id[self.batch(step, size, seed)]))}"

    def draw_text(self, refs: Rows, rng: np.random.Generator) -> Rows:
        """Draw one expression row for each ref, uniformly from its own."""
        return self.start[refs] + (rng.random(len(refs)) * self.count[refs]).astype(np.int64)
