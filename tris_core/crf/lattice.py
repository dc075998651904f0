"""A dense CRF of two classes (Krähenbühl and Koltun, NIPS 2011), filtered on a lattice.

It runs in worker processes, so this module does not import torch.
"""

import numpy as np
from numpy.typing import NDArray

from tris_core.crf.kernels import APPEARANCE, COLOUR, NEAR, SMOOTHNESS, WIDE
from tris_core.runtime.errors import InputError


class LatticeCRF:
    """The CRF of an image, by pydensecrf: its filters are approximate, and fast on a CPU.

    Build it once and refine all masks of the image: building the kernels takes longer than running
    the CRF.

    Args:
        image: (H, W, 3) uint8.
        iterations: of mean field.
        gt_prob: the probability that a pixel of a given mask is right.

    Raises:
        InputError: if pydensecrf is not installed.
    """

    def __init__(self, image: NDArray[np.uint8], *, iterations: int, gt_prob: float) -> None:
        try:
            from pydensecrf import densecrf
        except ImportError as error:
            problem = "the CRF labels need pydensecrf, which is not installed"
            raise InputError(f"{problem}; run `uv sync`") from error
        self._iterations, self._gt_prob = iterations, gt_prob
        self._crf = densecrf.DenseCRF2D(image.shape[1], image.shape[0], 2)
        self._crf.addPairwiseGaussian(sxy=NEAR, compat=SMOOTHNESS)
        writable = np.require(image, requirements=["C", "W"])  # pydensecrf needs writable arrays
        self._crf.addPairwiseBilateral(sxy=WIDE, srgb=COLOUR, rgbim=writable, compat=APPEARANCE)

    def __call__(self, masks: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Refine masks (N, H, W)."""
        return np.array([self._refine(mask) for mask in masks])

    def _refine(self, mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
        trust = np.where(mask, self._gt_prob, 1 - self._gt_prob).ravel()
        self._crf.setUnaryEnergy(-np.log([1 - trust, trust]).astype(np.float32))
        probability = np.asarray(self._crf.inference(self._iterations)).reshape(2, *mask.shape)
        result: NDArray[np.bool_] = probability[1] > probability[0]
        return result
