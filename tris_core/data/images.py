"""Reads pictures as they are displayed. Every part of the program uses this module."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tris_core.data.image_files import UNREADABLE, open_image, orientation
from tris_core.runtime.errors import InputError

WHITE = (255, 255, 255, 255)
BAND = 2**20  # pixels converted at a time

Pixels = NDArray[np.uint8]  # RGB (H, W, 3)
# By EXIF orientation: a view of the upright picture in the file's order of pixels.
AS_STORED: dict[int, Callable[[Pixels], Pixels]] = {
    1: lambda upright: upright,
    2: lambda upright: upright[:, ::-1],
    3: lambda upright: upright[::-1, ::-1],
    4: lambda upright: upright[::-1],
    5: lambda upright: upright.swapaxes(0, 1),
    6: np.rot90,
    7: lambda upright: upright.swapaxes(0, 1)[::-1, ::-1],
    8: lambda upright: np.rot90(upright, -1),
}


def check_image(path: Path) -> None:
    """Read the header but no pixel. Raises `InputError` if the file is missing or not an image."""
    try:
        with open_image(path):
            pass
    except FileNotFoundError as error:
        raise InputError(f"{path}: not found; name an image file") from error
    except UNREADABLE as error:
        raise InputError(f"{path}: cannot be read as an image ({error})") from error


def read_image(path: Path, content: bytes | None = None) -> Pixels:
    """Read the first frame as RGB pixels (H, W, 3) uint8, see `as_displayed`.

    Args:
        path: the file.
        content: its bytes, if they have already been read.

    Raises:
        InputError: the file is missing, broken or not an image.
    """
    try:
        with open_image(path, content) as image:
            return as_displayed(image)
    except FileNotFoundError as error:
        raise InputError(f"{path}: not found; name an image file") from error
    except UNREADABLE as error:
        problem = f"cannot be read as an image ({error})"
        raise InputError(f"{path}: {problem}; replace it by a whole copy") from error


def as_displayed(image: Image.Image) -> Pixels:
    """RGB pixels (H, W, 3) uint8, turned by the EXIF orientation, transparency on white.

    16-bit grey levels keep their upper eight bits. Floating-point levels have no fixed range and
    are stretched from their minimum to their maximum. A few rows are converted at a time: RGBA or
    float64 of the whole picture would take many times its memory.
    """
    image.load()
    turned, convert = orientation(image.getexif), _converter(image)
    rows, columns = image.size if turned >= 5 else image.size[::-1]
    upright = np.empty((rows, columns, 3), np.uint8)
    stored = AS_STORED[turned](upright)
    for top, band in _bands(image):
        stored[top : top + band.height] = np.asarray(convert(band))
    return upright


def _bands(image: Image.Image) -> Iterator[tuple[int, Image.Image]]:
    rows = max(1, BAND // image.width)
    for top in range(0, image.height, rows):
        yield top, image.crop((0, top, image.width, min(top + rows, image.height)))


def _converter(image: Image.Image) -> Callable[[Image.Image], Image.Image]:
    """A function that converts a band of this picture to RGB."""
    if image.mode == "RGB" and not image.has_transparency_data:
        return lambda band: band
    if image.mode.startswith("I"):
        return lambda band: _grey(np.asarray(band).clip(0, 0xFFFF) >> 8)
    if image.mode == "F":
        bands = (_levels(band) for _, band in _bands(image))
        ends = [(levels.min(), levels.max()) for levels in bands]
        low, high = min(low for low, _ in ends), max(high for _, high in ends)
        spread = max(high - low, np.finfo(np.float64).tiny)
        return lambda band: _grey(((_levels(band) - low) / spread * 255).round())
    return _over_white if image.has_transparency_data else lambda band: band.convert("RGB")


def _levels(band: Image.Image) -> NDArray[np.float64]:
    return np.nan_to_num(np.asarray(band, dtype=np.float64))


def _grey(levels: NDArray[np.generic]) -> Image.Image:
    return Image.fromarray(levels.astype(np.uint8)).convert("RGB")


def _over_white(band: Image.Image) -> Image.Image:
    band = band.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", band.size, WHITE), band).convert("RGB")
