"""TODO."""

import numpy as np

from tris_core.training.samples import TrainingRefs


def refs_of(images: list[int], sentences: int = 2) -> TrainingRefs:
    n = len(images)
    start = np.arange(n) * sentences
    return TrainingRefs(np.arange(n) + 100, np.array(images), start, np.full(n, sentences))
