"""What the page accepts. Messages appear on the page, so they name no path and say what to do."""

from pathlib import Path

from PIL import Image

from tris_core.data.image_files import UNREADABLE
from tris_core.runtime.errors import InputError

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP")  # what browsers can preview
MAX_FILE_MB = 20  # Gradio refuses larger files in its own words
MAX_MEGAPIXELS = 25
MAX_SENTENCES = 8
MAX_LETTERS = 5000
LOWEST, HIGHEST = 0.01, 0.99  # thresholds


def check_picture(path: Path, name: str) -> None:
    """Check a picture's header; no pixel is decoded.

    Raises `InputError`, which calls the file by its `name` on the page.
    """
    problem = f"{name} has more than {MAX_MEGAPIXELS} megapixels"
    too_large = f"{problem}. Scale it down and upload it again."
    try:
        with Image.open(path, formats=FORMATS) as image:
            width, height = image.size
    except Image.DecompressionBombError as error:
        raise InputError(too_large) from error
    except UNREADABLE as error:
        fix = "Upload a JPEG, PNG, WebP, GIF or BMP file."
        raise InputError(f"{name} cannot be read as a picture. {fix}") from error
    if width * height > MAX_MEGAPIXELS * 1_000_000:
        raise InputError(too_large)


def sentences(text: str) -> list[str]:
    """The non-blank lines of `text`.

    Raises `InputError` if there are none or too many, or if they are too long.
    """
    found = [line.strip() for line in text.splitlines() if line.strip()]
    if not found:
        raise InputError("There is no sentence yet. Type what to mark, one sentence per line.")
    if len(text) > MAX_LETTERS:
        problem = f"The sentences have {len(text):,} characters together"
        raise InputError(f"{problem}, and {MAX_LETTERS:,} is the limit. Shorten them.")
    if len(found) > MAX_SENTENCES:
        problem = f"You entered {len(found)} sentences"
        raise InputError(f"{problem}, and {MAX_SENTENCES} is the limit. Remove some.")
    return found
