"""Seeds of the boundary network: dense CRFs at two confidences (Ahn et al., CVPR 2019).

They are made in worker processes, so this module does not import torch.
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
    """Label pixels as sure foreground, sure background, or neither.

    The CRF runs from cam > `conf_fg` and from cam > `conf_bg`. What the first keeps is
    foreground, what the second rejects is background.

    Args:
        image: (H, W, 3) uint8.
        cams: N response maps (N, H, W) in [0, 1].
        resolution: run at this fraction of the size; labels are resized back by nearest neighbour.
        iterations, gt_prob: see `BinaryCRF`.

    Returns:
        (N, H, W): `BACKGROUND`, `FOREGROUND` or `IGNORE`.

    Raises:
        ValueError: if `image` is not uint8 or not of the size of the maps.
    """
    if image.dtype != np.uint8 or image.shape != (*cams.shape[1:], 3):
        found = f"{image.dtype} {image.shape}, {cams.shape}"
        raise ValueError(f"image must be uint8 (H, W, 3) with cams (N, H, W); got {found}")
    height, width = cams.shape[1:]
    size = max(1, round(width * resolution)), max(1, round(height * resolution))
    if resolution < 1:
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA).astype(np.uint8)
    crf = BinaryCRF(image)
    labels = np.empty(cams.shape, np.uint8)
    for label, cam in zip(labels, cams, strict=True):
        if resolution < 1:
            shrunk = cv2.resize(cam, size, interpolation=cv2.INTER_AREA)
            cam = np.asarray(shrunk, cam.dtype)
        foreground = crf(cam > conf_fg, iterations=iterations, gt_prob=gt_prob)
        candidate = crf(cam > conf_bg, iterations=iterations, gt_prob=gt_prob)
        unsure = np.where(candidate, IGNORE, BACKGROUND)
        small = np.where(foreground, FOREGROUND, unsure).astype(np.uint8)
        label[:] = cv2.resize(small, (width, height), interpolation=cv2.INTER_NEAREST)
    return labels


def decode_label(png: bytes) -> NDArray[np.uint8]:
    """The label (H, W) of 0, 1 and 255, from PNG bytes."""
    return np.asarray(cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_GRAYSCALE), np.uint8)


def encode_label(label: NDArray[np.uint8]) -> bytes:
    """PNG bytes of a label (H, W)."""
    return cv2.imencode(".png", label)[1].tobytes()
