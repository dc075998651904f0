"""The largest pictures that are opened: honest, and marked in memory that their size justifies."""

from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from tests.attack.bombs import Read, bomb
from tris_core.data.image_files import MOST_PIXELS
from tris_core.data.images import read_image
from tris_core.predict.files import write_pictures
from tris_core.predict.predictor import DEMO, Predictor

SIZE = 8192, MOST_PIXELS // 8192


def marked(folder: Path, name: str, mode: str, orientation: int) -> Read:
    """What `tris predict` does with one picture and one sentence; models are loaded before memory is measured."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(np.zeros(SIZE[::-1], np.uint8)).convert(mode).save(folder / name, exif=exif)
    predictor = Predictor.load(*DEMO, device="cpu")

    def read() -> None:
        photo = read_image(folder / name)
        for prediction in predictor.each(photo, ["red star"], threshold=-10):
            write_pictures(folder, "made", photo, prediction)

    return read


LARGEST = {"RGB": ("a.jpg", 6), "RGBA": ("a.png", 1), "F": ("a.tif", 1)}
for mode, (name, orientation) in LARGEST.items():
    make = partial(marked, name=name, mode=mode, orientation=orientation)
    bomb(f"predict: the largest picture of mode {mode}", harmless=True)(make)
