"""Small sets of training refs."""

import numpy as np

from tris_core.training.samples import TrainingRefs


def refs_of(images: list[int], sentences: int = 2) -> TrainingRefs:
    """A ref for each image row in `images`, with ids from 100 on and `sentences` each."""
    n = len(images)
    start = np.arange(n) * sentences
    return TrainingRefs(np.arange(n) + 100, np.array(images), start, np.full(n, sentences))
