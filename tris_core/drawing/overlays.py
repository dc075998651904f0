"""Response maps and masks drawn over an image."""

import cv2
import numpy as np
from matplotlib import colormaps
from numpy.typing import NDArray

COLOURS = {"pseudo_label": (255, 120, 0), "prediction": (0, 110, 255), "truth": (0, 170, 70)}
BLANK = (244, 244, 244)
BAND = 2**17  # pixels drawn at a time
FADING, MASK_OPACITY, HEAT_OPACITY = 0.7, 0.5, 0.75
Panel = NDArray[np.uint8]


def fit(image: Panel, side: int) -> Panel:
    """Resize an image (H, W, 3) so that its longer side is `side` pixels."""
    height, width = image.shape[:2]
    scale = side / max(height, width)
    size = max(round(width * scale), 1), max(round(height * scale), 1)
    interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return cv2.resize(image, size, interpolation=interpolation).astype(np.uint8)


def fade(image: Panel) -> NDArray[np.float64]:
    """An image (h, w, 3) with most of its colour removed, as a background."""
    faded: NDArray[np.float64] = image + (image.mean(axis=2, keepdims=True) - image) * FADING
    return faded


def heat(faded: NDArray[np.floating], response: NDArray[np.floating]) -> Panel:
    """Draw a heat map over a faded image (h, w, 3).

    `response` is in [0, 1] and of any size. Stronger responses are more opaque.
    """
    scaled = cv2.resize(response.astype(np.float32), faded.shape[1::-1])
    opacity = HEAT_OPACITY * np.sqrt(scaled)[..., None]
    colours = colormaps["turbo"](scaled)[..., :3]
    return (faded * (1 - opacity) + colours * 255 * opacity).astype(np.uint8)


def tint(
    faded: NDArray[np.floating] | Panel, mask: NDArray[np.bool_], colour: tuple[int, int, int]
) -> Panel:
    """Draw a mask over an image (h, w, 3) in 0-255, in a translucent colour with an outline.

    `mask` is of any size.
    """
    scaled = cv2.resize(mask.astype(np.uint8), faded.shape[1::-1], interpolation=cv2.INTER_NEAREST)
    panel = np.empty(faded.shape, np.uint8)
    rows = max(1, BAND // faded.shape[1])
    added = np.array(colour, np.float32) * MASK_OPACITY
    for top in range(0, len(faded), rows):  # float32 takes four times the memory
        band = slice(top, top + rows)
        plain = faded[band].astype(np.float32)
        tinted = plain * (1 - MASK_OPACITY) + added
        panel[band] = np.where(scaled[band][..., None] > 0, tinted, plain)
    contours, _ = cv2.findContours(scaled, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(panel, contours, -1, (255, 255, 255), thickness=4, lineType=cv2.LINE_AA)
    cv2.drawContours(panel, contours, -1, colour, thickness=2, lineType=cv2.LINE_AA)
    return panel
