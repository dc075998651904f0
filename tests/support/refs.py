"""Training refs without a data set."""

import numpy as np

from tris_core.training.samples import TrainingRefs


def refs_of(
    images: list[int],
    sentences: int = 2,
    *,
    objects: list[int] | None = None,
    said: list[int] | None = None,
) -> TrainingRefs:
    """Refs 100, 101, ... on the given images, with equally many sentences each.

    Each is about an object of its own and all sentences differ, unless `objects` (one per ref) and
    `said` (one per sentence) give equal numbers.
    """
    n = len(images)
    return TrainingRefs(
        ref_id=np.arange(n) + 100,
        image=np.array(images),
        object=np.array(objects or range(n)),
        start=np.arange(n) * sentences,
        count=np.full(n, sentences),
        sentence=np.array(said or range(n * sentences), np.uint64),
    )
