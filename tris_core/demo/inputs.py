"""What the page accepts. Messages are for the page, so they name no path, and say what to do."""

from pathlib import Path

from PIL import Image

from tris_core.data.image_files import UNREADABLE
from tris_core.runtime.errors import InputError

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP")  # what a browser can show before it is sent
MAX_FILE_MB = 20  # what is larger Gradio refuses, in words of its own
MAX_MEGAPIXELS = 25
MAX_SENTENCES = 8
MAX_LETTERS = 5000
LOWEST, HIGHEST = 0.01, 0.99  # thresholds


def check_picture(path: Path, name: str) -> None:
    """Look at the header; no pixel is decoded. Raises `InputError` that calls the file by its `name` on the page."""
    too_large = (
        f"{name} has more than {MAX_MEGAPIXELS} megapixels. Scale it down and upload it again."
    )
    try:
        with Image.open(path, formats=FORMATS) as image:
            width, height = image.size
    except Image.DecompressionBombError as error:
        raise InputError(too_large) from error
    except UNREADABLE as error:
        raise InputError(
            f"{name} cannot be read as a picture. Upload a JPEG, PNG, WebP, GIF or BMP file."
        ) from error
    if width * height > MAX_MEGAPIXELS * 1_000_000:
        raise InputError(too_large)


def sentences(text: str) -> list[str]:
    """The lines of `text` that hold more than white space. Raises `InputError` for none, too many or too long ones."""
    found = [line.strip() for line in text.splitlines() if line.strip()]
    if not found:
        raise InputError("There is no sentence yet. Type what to mark, one sentence per line.")
    if len(text) > MAX_LETTERS:
        raise InputError(
            f"The sentences have {len(text):,} characters together, and {MAX_LETTERS:,} is the limit. Shorten them."
        )
    if len(found) > MAX_SENTENCES:
        raise InputError(
            f"These are {len(found)} sentences, and {MAX_SENTENCES} is the limit. Remove some."
        )
    return found
