"""Turns predictions into what the page shows: small pictures, numbers and masks, as HTML."""

import base64
import io
from dataclasses import dataclass
from pathlib import Path

import jinja2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tris_core.drawing.overlays import COLOURS, fade, heat, tint
from tris_core.predict.predictor import Prediction, mask_of

# Longer side, in pixels, of what is shown. The mask to download has the picture's own size.
SIDE = 800

_TEMPLATES = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent),
    autoescape=True,
    trim_blocks=True,
    lstrip_blocks=True,
)


@dataclass(frozen=True)
class Answer:
    """A `Prediction` with its response drawn. `logits` (h, w) give the mask at any threshold.

    `read` and `unread` are the words that the models read and those that were cut off. `response`
    is a picture as a data URL, `name` the file name of the mask.
    """

    name: str
    text: str
    read: str
    unread: str
    unknown_words: tuple[str, ...]
    score: float
    logits: NDArray[np.float32]
    response: str


@dataclass(frozen=True)
class Answers:
    """The answers to one request.

    `shown` (h, w, 3) uint8 is the reduced picture; `width` and `height` are those of the original.
    """

    shown: NDArray[np.uint8]
    width: int
    height: int
    answers: tuple[Answer, ...]


def reduced(photo: Image.Image) -> NDArray[np.uint8]:
    """The picture, reduced to a longer side of at most `SIDE`."""
    small = photo.copy()
    small.thumbnail((SIDE, SIDE))
    return np.asarray(small)


def answer(prediction: Prediction, shown: NDArray[np.uint8], name: str) -> Answer:
    """Draw the response of a prediction on the faded picture."""
    words = prediction.text.split()
    read = prediction.words_read if prediction.cut else len(words)
    return Answer(
        name=f"{name}_mask.png",
        text=prediction.text,
        read=" ".join(words[:read]),
        unread=" ".join(words[read:]),
        unknown_words=prediction.unknown_words,
        score=prediction.score,
        logits=prediction.logits,
        response=_address(heat(fade(shown), prediction.response), "JPEG"),
    )


def to_html(found: Answers, threshold: float) -> str:
    """All answers as HTML, with masks where the probability exceeds `threshold`, in (0, 1).

    No network runs.
    """
    logit = float(np.log(threshold / (1 - threshold)))
    rows = []
    for one in found.answers:
        mask, mask_score = mask_of(
            one.logits, height=found.height, width=found.width, threshold=logit
        )
        overlay = tint(found.shown.astype(np.float32), mask, COLOURS["prediction"])
        rows.append(
            {
                "answer": one,
                "mask_score": mask_score,
                "share": mask.mean(),
                "overlay": _address(overlay, "JPEG"),
                "mask": _address(mask.astype(np.uint8) * 255, "PNG"),
            }
        )
    return _TEMPLATES.get_template("answers.html").render(
        rows=rows, found=found, threshold=threshold
    )


def _address(pixels: NDArray[np.uint8], format: str) -> str:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format=format, quality=90)
    return f"data:image/{format.lower()};base64,{base64.b64encode(file.getvalue()).decode()}"
