"""Seeds of the boundary network: dense CRFs at two confidences (IRN, CVPR 2019).

Runs in worker processes, so it uses no torch.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from tris_core.crf.dense_crf import BinaryCRF

BACKGROUND, FOREGROUND, IGNORE = 0, 1, 255


def crf_labels(
    image: NDArray[np.uint8],
    cams: NDArray[np.floating],
    *,
    resolution: float = 1.0,
    conf_fg: float = 0.3,
    conf_bg: float = 0.1,
    iterations: int = 10,
    gt_prob: float = 0.7,
) -> NDArray[np.uint8]:
    """Labels (N, H, W): 1 where foreground is sure, 0 where background is, 255 (ignore) between.

    `image` (H, W, 3) uint8 and its `cams` (N, H, W) in [0, 1]. Two CRF runs start from cam > `conf_fg` and cam > `conf_bg`:
    what the first keeps is foreground, what the second rejects is background. `gt_prob` is the trust in the start. Both run
    at `resolution` times the size; the label comes back to full size by nearest neighbour.
    """
    if image.dtype != np.uint8 or image.shape != (*cams.shape[1:], 3):
        raise ValueError(
            f"image must be uint8 (H, W, 3) with cams (N, H, W); got {image.dtype} {image.shape}, {cams.shape}"
        )
    height, width = cams.shape[1:]
    size = max(1, round(width * resolution)), max(1, round(height * resolution))
    if resolution < 1:
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA).astype(np.uint8)
    crf = BinaryCRF(image)
    labels = np.empty(cams.shape, np.uint8)
    for full, cam in zip(labels, cams, strict=True):
        small = (
            np.asarray(cv2.resize(cam, size, interpolation=cv2.INTER_AREA), cam.dtype)
            if resolution < 1
            else cam
        )
        foreground = crf(small > conf_fg, iterations=iterations, gt_prob=gt_prob)
        candidate = crf(small > conf_bg, iterations=iterations, gt_prob=gt_prob)
        label = np.where(foreground, FOREGROUND, np.where(candidate, IGNORE, BACKGROUND)).astype(
            np.uint8
        )
        full[:] = cv2.resize(label, (width, height), interpolation=cv2.INTER_NEAREST)
    return labels


def decode_label(png: bytes) -> NDArray[np.uint8]:
    """A seed map (H, W) of 0, 1, 255 from the PNG bytes of the seeds table."""
    return np.asarray(cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_GRAYSCALE), np.uint8)


def encode_label(label: NDArray[np.uint8]) -> bytes:
    """PNG bytes of a seed map (H, W)."""
    return cv2.imencode(".png", label)[1].tobytes()
