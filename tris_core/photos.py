"""Any picture PIL can read, as it is displayed: what `predict` is given, where the pipeline has checked JPEGs."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from tris_core.errors import InputError
from tris_core.image_files import UNREADABLE, open_image

WHITE = (255, 255, 255, 255)


def check_photo(path: Path) -> None:
    """Look at the header; no pixel is decoded. Raises `InputError` for a file that is missing or no image."""
    try:
        with open_image(path):
            pass
    except FileNotFoundError as error:
        raise InputError(f"{path}: not found; name an image file") from error
    except UNREADABLE as error:
        raise InputError(f"{path}: cannot be read as an image ({error})") from error


def read_photo(path: Path) -> Image.Image:
    """The first frame of an image file as `as_displayed` gives it. Raises `InputError` if it is missing or broken."""
    check_photo(path)
    try:
        with open_image(path) as image:
            return as_displayed(image)
    except UNREADABLE as error:
        raise InputError(f"{path}: is broken ({error})") from error


def as_displayed(image: Image.Image) -> Image.Image:
    """RGB, turned as its EXIF orientation says, what is transparent over white.

    Sixteen-bit grey levels keep their upper eight bits. Floating-point ones, which have no range of their own, are
    stretched from their minimum to their maximum.
    """
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I"):
        return Image.fromarray((np.asarray(image).clip(0, 0xFFFF) >> 8).astype(np.uint8)).convert("RGB")
    if image.mode == "F":
        levels = np.nan_to_num(np.asarray(image, dtype=np.float64))
        stretched = (levels - levels.min()) / max(np.ptp(levels), np.finfo(np.float64).tiny)
        return Image.fromarray((stretched * 255).round().astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, WHITE), image).convert("RGB")
    return image.convert("RGB")
