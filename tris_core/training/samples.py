"""Which refs and sentences make up a training batch.

A batch is a function of (seed, step), so any step can be redone. Rows are positions in the tables
of the index: `image` rows in images, expression rows in expressions.
"""

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from pandas.util import hash_pandas_object
from torch import Tensor

from tris_core.data.grouping import Rows
from tris_core.data.index import Index

BLOCK = 100_000  # texts hashed at a time


@lru_cache(maxsize=2)  # the epoch of this step, and the one that prefetching has begun
def epoch_order(count: int, seed: int, epoch: int) -> Rows:
    """The permutation (count,) of an epoch, read-only. Every step of the epoch takes a slice."""
    order = np.random.default_rng([seed, 0, epoch]).permutation(count)
    order.setflags(write=False)
    return order


def _hashes(texts: "pd.Series[str]") -> NDArray[np.uint64]:
    """A 64-bit hash of each text. Block by block: pandas encodes all that it hashes at once."""
    hashes = np.empty(len(texts), np.uint64)
    for block in range(0, len(texts), BLOCK):
        some = slice(block, block + BLOCK)
        hashes[some] = hash_pandas_object(texts.iloc[some], index=False, categorize=False)
    return hashes


@dataclass(frozen=True, eq=False)
class TrainingRefs:
    """The R refs of one split.

    Attributes:
        ref_id: Their ids, (R,).
        image: Image rows, (R,).
        object: Which object each ref is about, (R,). Refs that share it are about the same one.
        start: First expression row of each ref, (R,).
        count: Number of expressions of each ref, in consecutive rows, (R,).
        sentence: A 64-bit hash of each sentence, (L,) by expression row: equal for equal strings.
    """

    ref_id: Rows
    image: Rows
    object: Rows
    start: Rows
    count: Rows
    sentence: NDArray[np.uint64]

    @staticmethod
    def from_index(index: Index, split: str) -> "TrainingRefs":
        """The refs of a split. Expressions must be sorted by ref, as `index` writes them."""
        objects = index.objects
        chosen = objects.loc[objects["split"] == split, ["ref_id", "image_id", "ann_id"]]
        owner = index.expressions["ref_id"].to_numpy()
        start = np.searchsorted(owner, chosen["ref_id"])
        stop = np.searchsorted(owner, chosen["ref_id"], side="right")
        return TrainingRefs(
            ref_id=chosen["ref_id"].to_numpy(np.int64),
            image=index.image_rows(chosen["image_id"]),
            object=chosen["ann_id"].to_numpy(np.int64),
            start=start,
            count=stop - start,
            sentence=_hashes(index.expressions["text"]),
        )

    def __len__(self) -> int:
        return len(self.ref_id)

    def with_shuffled_sentences(self, seed: int) -> "TrainingRefs":
        """Give every image the sentences of another one. All refs of an image move together."""
        distinct, position = np.unique(self.image, return_inverse=True)
        order = np.random.default_rng(seed).permutation(len(distinct))
        other = np.empty_like(order)
        other[order] = np.roll(order, 1)
        return replace(self, image=distinct[other[position]])

    def batch(self, step: int, size: int, seed: int, *, by_image: bool = False) -> Rows:
        """Positions (size,) of the refs of a step.

        An epoch is a permutation of the refs, without an incomplete last batch. `by_image` keeps
        the refs of an image together.
        """
        size = min(size, len(self))
        per_epoch = len(self) // size
        first = step % per_epoch * size
        epoch = seed, step // per_epoch
        order = images_together(self, *epoch) if by_image else epoch_order(len(self), *epoch)
        return order[first : first + size]

    def pictures(self, refs: Rows, *, shared: bool) -> tuple[Rows, Tensor | None]:
        """The image rows of refs (B,); if `shared`, (I,) without repetitions.

        With it comes the position in them of each ref's image, (B,), or None if not `shared`.
        """
        if not shared:
            return self.image[refs], None
        rows, image_of = np.unique(self.image[refs], return_inverse=True)
        return rows, torch.from_numpy(image_of)

    def describe(self, refs: Rows) -> str:
        """The ids of refs, such as "ref_id 3, 17"."""
        return f"ref_id {', '.join(map(str, self.ref_id[refs]))}"

    def rows(self, chosen: NDArray[np.bool_]) -> Rows:
        """The expression rows of the refs that a mask (R,) chooses."""
        start, count = self.start[chosen], self.count[chosen]
        within = np.arange(count.sum()) - np.repeat(count.cumsum() - count, count)
        return np.repeat(start, count) + within

    def draw_text(self, refs: Rows, rng: np.random.Generator) -> Rows:
        """Draw one expression row for each ref, uniformly from its own."""
        return self.start[refs] + (rng.random(len(refs)) * self.count[refs]).astype(np.int64)


@lru_cache(maxsize=2)
def images_together(refs: TrainingRefs, seed: int, epoch: int) -> Rows:
    """`epoch_order` with the refs of an image where the first of them is, read-only."""
    order = epoch_order(len(refs), seed, epoch)
    _, first, image_of = np.unique(refs.image[order], return_index=True, return_inverse=True)
    order = order[np.argsort(first[image_of], kind="stable")]
    order.setflags(write=False)
    return order
