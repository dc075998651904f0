"""A dense CRF of two classes (Kraehenbuehl and Koltun, NIPS 2011).

Runs in worker processes, so it uses no torch. pydensecrf is imported on use.
"""

import numpy as np
from numpy.typing import NDArray

from tris_core.runtime.errors import InputError


class BinaryCRF:
    """Two-class dense CRF of `image` (H, W, 3) uint8. Its kernels take longer to build than to run, and serve every mask."""

    def __init__(self, image: NDArray[np.uint8]) -> None:
        try:
            from pydensecrf import densecrf
        except ImportError as error:
            raise InputError(
                "the CRF labels need pydensecrf, which is not installed; run `uv sync`"
            ) from error
        self._shape = image.shape[:2]
        self._crf = densecrf.DenseCRF2D(image.shape[1], image.shape[0], 2)
        self._crf.addPairwiseGaussian(sxy=3, compat=3)
        writable = np.require(image, requirements=["C", "W"])  # pydensecrf takes no read-only array
        self._crf.addPairwiseBilateral(sxy=50, srgb=5, rgbim=writable, compat=10)

    def __call__(
        self, mask: NDArray[np.bool_], *, iterations: int, gt_prob: float
    ) -> NDArray[np.bool_]:
        """The mask (H, W) that `iterations` of mean field make of `mask` (H, W), trusted with probability `gt_prob`."""
        trust = np.where(mask, gt_prob, 1 - gt_prob).ravel()
        self._crf.setUnaryEnergy(-np.log([1 - trust, trust]).astype(np.float32))
        probability = np.asarray(self._crf.inference(iterations)).reshape(2, *self._shape)
        result: NDArray[np.bool_] = probability[1] > probability[0]
        return result
