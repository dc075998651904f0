"""Training labels of IRN from response maps, sharpened by a dense CRF (Kraehenbuehl and Koltun, NIPS 2011).

Runs in worker processes: no torch here. pydensecrf is imported on use, since only this step needs it.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from tris_core.errors import InputError

BACKGROUND, FOREGROUND, IGNORE = 0, 1, 255


def crf_label(
    image: NDArray[np.uint8],
    cam: NDArray[np.floating],
    *,
    resolution: float = 1.0,
    conf_fg: float = 0.3,
    conf_bg: float = 0.1,
    iterations: int = 10,
    gt_prob: float = 0.7,
) -> NDArray[np.uint8]:
    """Label (H, W): 1 where foreground is sure, 0 where background is, 255 (ignore) between.

    `image` (H, W, 3) uint8 and `cam` (H, W) in [0, 1]. Two CRF runs start from cam > `conf_fg` and cam > `conf_bg`:
    what the first keeps is foreground, what the second rejects is background. `gt_prob` is the trust in the start. Both run
    at `resolution` times the size; the label comes back to full size by nearest neighbour.
    """
    if image.dtype != np.uint8 or image.shape != (*cam.shape, 3):
        raise ValueError(f"image must be uint8 (H, W, 3) with cam (H, W); got {image.dtype} {image.shape}, {cam.shape}")
    height, width = cam.shape
    if resolution < 1:
        size = max(1, round(width * resolution)), max(1, round(height * resolution))
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA).astype(np.uint8)
        cam = np.asarray(cv2.resize(cam, size, interpolation=cv2.INTER_AREA), cam.dtype)
    foreground = crf_binary(image, cam > conf_fg, iterations=iterations, gt_prob=gt_prob)
    candidate = crf_binary(image, cam > conf_bg, iterations=iterations, gt_prob=gt_prob)
    label = np.full(cam.shape, IGNORE, np.uint8)
    label[~candidate] = BACKGROUND
    label[foreground] = FOREGROUND
    return np.asarray(cv2.resize(label, (width, height), interpolation=cv2.INTER_NEAREST), np.uint8)


def crf_binary(image: NDArray[np.uint8], mask: NDArray[np.bool_], *, iterations: int, gt_prob: float) -> NDArray[np.bool_]:
    """Two-class dense CRF of `image` (H, W, 3) uint8 started from `mask` (H, W) bool; returns the mask (H, W) bool."""
    try:
        from pydensecrf import densecrf
    except ImportError as error:
        raise InputError("the CRF labels need pydensecrf, which is not installed; run `uv sync`") from error
    height, width = mask.shape
    trust = np.where(mask, gt_prob, 1 - gt_prob).ravel()
    crf = densecrf.DenseCRF2D(width, height, 2)
    crf.setUnaryEnergy(-np.log([1 - trust, trust]).astype(np.float32))
    crf.addPairwiseGaussian(sxy=3, compat=3)
    crf.addPairwiseBilateral(sxy=50, srgb=5, rgbim=np.ascontiguousarray(image), compat=10)
    probability = np.asarray(crf.inference(iterations)).reshape(2, height, width)
    result: NDArray[np.bool_] = probability[1] > probability[0]
    return result


def decode_label(png: bytes) -> NDArray[np.uint8]:
    """A seed map (H, W) of 0, 1, 255 from the PNG bytes of the seeds table."""
    return np.asarray(cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_GRAYSCALE), np.uint8)


def encode_label(label: NDArray[np.uint8]) -> bytes:
    """PNG bytes of a seed map (H, W)."""
    return cv2.imencode(".png", label)[1].tobytes()
