"""Training refs without a data set."""

import numpy as np

from tris_core.training.samples import TrainingRefs


def refs_of(images: list[int], sentences: int = 2) -> TrainingRefs:
    """Refs 100, 101, ... on the given images, with equally many sentences each."""
    n = len(images)
    start = np.arange(n) * sentences
    return TrainingRefs(np.arange(n) + 100, np.array(images), start, np.full(n, sentences))
