"""`tris predict`: which sentences go to which images, and the pictures that come of it."""

import re
import reprlib
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tris_core.data.foreign import csv_rows
from tris_core.data.image_files import readable_formats
from tris_core.data.images import check_image
from tris_core.drawing.overlays import COLOURS, tint
from tris_core.predict.predictor import Prediction
from tris_core.runtime.errors import InputError
from tris_core.runtime.files import replacing

Requests = dict[Path, list[str]]
STEM_BYTES, SLUG_LETTERS = 100, 40  # file systems end at 255 bytes


def requests_of_images(image: Path, texts: Sequence[str]) -> tuple[Requests, list[Path]]:
    """All `texts` for an image file, or for each image of a folder; and the folder's files that are of no such format.

    Raises `InputError` for what is missing, is no image or holds none.
    """
    if not image.is_dir():
        check_image(image)
        return {image: list(texts)}, []
    formats = readable_formats()
    readable = {suffix for suffix, kind in Image.registered_extensions().items() if kind in formats}
    files = sorted(path for path in image.iterdir() if path.is_file())
    photos = [path for path in files if path.suffix.lower() in readable]
    if not photos:
        raise InputError(f"{image}: no image file in this folder")
    for path in photos:
        check_image(path)
    return {path: list(texts) for path in photos}, [path for path in files if path not in photos]


def requests_of_csv(path: Path) -> Requests:
    """Sentences by image from a table with columns image and text (or sentence, as a list calls it).

    Images are named relative to the table's folder. Raises `InputError` naming the row of what is empty, missing or no
    image; rows count from 1 below the heading.
    """
    if not path.is_file():
        raise InputError(f"{path}: not found")
    rows = csv_rows(path)
    heading = next(rows)
    spoken = next((name for name in ("text", "sentence") if name in heading), None)
    if "image" not in heading or spoken is None:
        shown = reprlib.repr(heading)
        raise InputError(
            f"{path}: has columns {shown}; it needs columns image and text (or sentence)"
        )
    places = heading.index("image"), heading.index(spoken)
    requests: Requests = {}
    for row, cells in enumerate(rows, start=1):
        image, text = (cells[place] for place in places)
        if not image.strip() or not text.strip():
            raise InputError(
                f"{path}: row {row}: {spoken if image.strip() else 'image'} is empty; fill it in"
            )
        photo = path.parent / image
        if photo not in requests:
            try:
                check_image(photo)
            except InputError as error:
                raise InputError(f"{path}: row {row}: {error}") from error
        requests.setdefault(photo, []).append(text)
    if not requests:
        raise InputError(f"{path}: has 0 rows; it needs at least one image and sentence")
    return requests


def names(requests: Requests) -> Iterator[str]:
    """Beginnings of file names, sentence by sentence: the image's name, a number no other sentence has, the sentence.

    Of the sentence only a-z and 0-9 are taken, so it adds nothing that a path is made of.
    """
    digits = max(3, len(str(sum(map(len, requests.values())))))
    number = 0
    for path, texts in requests.items():
        stem = path.stem.encode(errors="replace")[:STEM_BYTES].decode(errors="ignore")
        for text in texts:
            number += 1
            yield f"{stem}_{number:0{digits}d}_{slug(text)}"


def slug(text: str) -> str:
    """At most `SLUG_LETTERS` of a-z, 0-9 and dashes; `sentence` where nothing of that kind is in the text."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    return re.sub("[^a-z0-9]+", "-", plain).strip("-")[:SLUG_LETTERS].strip("-") or "sentence"


def write_pictures(out: Path, name: str, photo: NDArray[np.uint8], prediction: Prediction) -> None:
    """`<name>_mask.png` (0, 255), `<name>_response.png` (grey levels) and `<name>_overlay.png`, at the size of `photo`."""
    _write(out / f"{name}_mask.png", prediction.mask * np.uint8(255))
    _write(out / f"{name}_response.png", _grey(prediction.response))
    _write(out / f"{name}_overlay.png", tint(photo, prediction.mask, COLOURS["prediction"]))


def _grey(response: NDArray[np.float32]) -> NDArray[np.uint8]:
    response *= 255
    return np.rint(response, out=response).astype(np.uint8)


def _write(path: Path, pixels: NDArray[np.uint8]) -> None:
    with replacing(path) as temporary:
        Image.fromarray(pixels).save(temporary, format="PNG")
