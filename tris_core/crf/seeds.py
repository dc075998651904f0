"""Seeds of the boundary network: dense CRFs at two confidences (Ahn et al., CVPR 2019).

They are made in worker processes, so this module does not import torch.
"""

from collections.abc import Callable
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

BACKGROUND, FOREGROUND, IGNORE = 0, 1, 255


class Crf(Protocol):
    """The CRF of an image, `LatticeCRF` or `ExactCRF`: it refines masks (N, H, W)."""

    def __call__(self, masks: NDArray[np.bool_]) -> NDArray[np.bool_]: ...


def crf_labels(
    image: NDArray[np.uint8],
    cams: NDArray[np.floating],
    build: Callable[[NDArray[np.uint8]], Crf],
    *,
    resolution: float = 1.0,
    conf_fg: float = 0.3,
    conf_bg: float = 0.1,
) -> NDArray[np.uint8]:
    """Label pixels as sure foreground, sure background, or neither.

    The CRF runs from cam > `conf_fg` and from cam > `conf_bg`. What the first keeps is
    foreground, what the second rejects is background.

    Args:
        image: (H, W, 3) uint8.
        cams: N response maps (N, H, W) in [0, 1].
        build: makes the CRF of an image.
        resolution: run at this fraction of the size; labels are resized back by nearest neighbour.

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
        shrunk = [cv2.resize(cam, size, interpolation=cv2.INTER_AREA) for cam in cams]
        cams = np.asarray(shrunk, cams.dtype)
    starts = np.concatenate([cams > conf_fg, cams > conf_bg])
    foreground, candidate = np.split(build(image)(starts), 2)
    unsure = np.where(candidate, IGNORE, BACKGROUND)
    labels = np.where(foreground, FOREGROUND, unsure).astype(np.uint8)
    grown = [cv2.resize(x, (width, height), interpolation=cv2.INTER_NEAREST) for x in labels]
    return np.asarray(grown, np.uint8)


def decode_label(png: bytes) -> NDArray[np.uint8]:
    """The label (H, W) of 0, 1 and 255, from PNG bytes."""
    return np.asarray(cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_GRAYSCALE), np.uint8)


def encode_label(label: NDArray[np.uint8]) -> bytes:
    """PNG bytes of a label (H, W)."""
    return cv2.imencode(".png", label)[1].tobytes()
