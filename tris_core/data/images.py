"""Pictures: read as they are displayed, and made into what the networks take.

The release feeds every network, both CLIPs included, with ImageNet-normalised RGB squares, resized without keeping the
aspect ratio.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tris_core.data.image_files import TURNS, UNREADABLE, open_image, orientation
from tris_core.runtime.errors import InputError

WHITE = (255, 255, 255, 255)
BAND = 2**20  # pixels converted at a time


def check_image(path: Path) -> None:
    """Look at the header; no pixel is decoded. Raises `InputError` for a file that is missing or no image."""
    try:
        with open_image(path):
            pass
    except FileNotFoundError as error:
        raise InputError(f"{path}: not found; name an image file") from error
    except UNREADABLE as error:
        raise InputError(f"{path}: cannot be read as an image ({error})") from error


def read_image(path: Path, content: bytes | None = None) -> NDArray[np.uint8]:
    """RGB pixels (H, W, 3) of the first frame, as `as_displayed` gives them. Every part of the program reads this way.

    `content` holds the bytes of the file where they were read already. Raises `InputError` for a file that is missing,
    broken or no image.
    """
    try:
        with open_image(path, content) as image:
            return np.asarray(as_displayed(image))
    except FileNotFoundError as error:
        raise InputError(f"{path}: not found; name an image file") from error
    except UNREADABLE as error:
        raise InputError(
            f"{path}: cannot be read as an image ({error}); replace it by a whole copy"
        ) from error


def as_displayed(image: Image.Image) -> Image.Image:
    """RGB, turned as its EXIF orientation says, what is transparent over white.

    Sixteen-bit grey levels keep their upper eight bits. Floating-point ones, which have no range of their own, are
    stretched from their minimum to their maximum.
    """
    image.load()
    turn = TURNS.get(orientation(image.getexif))
    if image.mode != "RGB" or image.has_transparency_data:
        image = _in_bands(image, _converter(image))
    return image if turn is None else image.transpose(turn)


def _in_bands(image: Image.Image, convert: Callable[[Image.Image], Image.Image]) -> Image.Image:
    """The picture converted to RGB a few rows at a time: RGBA or float64 of the whole would take many times its memory."""
    rgb = Image.new("RGB", image.size)
    for top, band in _bands(image):
        rgb.paste(convert(band), (0, top))
    return rgb


def _bands(image: Image.Image) -> Iterator[tuple[int, Image.Image]]:
    rows = max(1, BAND // image.width)
    for top in range(0, image.height, rows):
        yield top, image.crop((0, top, image.width, min(top + rows, image.height)))


def _converter(image: Image.Image) -> Callable[[Image.Image], Image.Image]:
    """What takes a band of this picture to RGB."""
    if image.mode.startswith("I"):
        return lambda band: _grey(np.asarray(band).clip(0, 0xFFFF) >> 8)
    if image.mode == "F":
        ends = [
            (levels.min(), levels.max())
            for levels in map(_levels, (band for _, band in _bands(image)))
        ]
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
