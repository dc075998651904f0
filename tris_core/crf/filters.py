"""Which filters the dense CRF has."""

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from tris_core.crf.exact import ExactCRF
from tris_core.crf.lattice import LatticeCRF
from tris_core.crf.params import Filters
from tris_core.crf.seeds import Crf


def crf_builder(
    filters: Filters, *, iterations: int, gt_prob: float, device: torch.device
) -> Callable[[NDArray[np.uint8]], Crf]:
    """What makes the CRF of an image; `device` is for `exact` filters."""
    if filters == "exact":
        return partial(ExactCRF, iterations=iterations, gt_prob=gt_prob, device=device)
    return partial(LatticeCRF, iterations=iterations, gt_prob=gt_prob)
