"""Marking what sentences describe in one picture, with trained models:

from tris_core.predict.predictor import Predictor

result = Predictor.load().predict("photo.jpg", ["man on the right"])  # one Prediction per sentence

The numbers are those of the pipeline: the same square, networks, resizing and threshold.
"""

import time
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from tris_core.clip.tokenizer import Tokenizer
from tris_core.data.images import as_displayed, read_image
from tris_core.data.maps import first_maxima, normalised_at, to_original
from tris_core.data.transforms import normalise, resize_square, to_tensor
from tris_core.runtime.device import place
from tris_core.runtime.errors import InputError
from tris_core.step1.network import Step1, build_step1
from tris_core.step2.network import Step2, build_step2
from tris_core.weights.model_folder import load_model

LAST_RUN = (Path("models/step1"), Path("models/step2"))
DEMO = (
    Path(__file__).parents[1] / "assets" / "demo_step1",
    Path(__file__).parents[1] / "assets" / "demo_step2",
)

BAND = 2**20  # pixels

Picture = Path | str | Image.Image | NDArray[np.uint8]


@dataclass(frozen=True)
class Prediction:
    """What one sentence marks in an image of H x W pixels, as displayed (turned by its EXIF orientation).

    `mask` (H, W) bool; `point` x, y of the pixel Step-2 is surest of and `score` its probability; `mask_score` the mean
    probability over the mask, 0 where that is empty. `grid` (h, w) float32 are Step-1's logits as decoded, for a square of
    `size` pixels, and `logits` (h, w) float32 Step-2's: `mask_of` makes the mask for another threshold of them.
    `tokens`, start and end included, of which models read `max_tokens`, which hold the first `words_read` of the words
    between white space whole; `unknown` the share of the sentence's tokens, in [0, 1], outside the models' vocabulary,
    `unknown_words` the words with such tokens; `seconds` for this sentence, the image's encoding not counted.
    """

    text: str
    mask: NDArray[np.bool_]
    grid: NDArray[np.float32]
    size: int
    logits: NDArray[np.float32]
    point: tuple[int, int]
    score: float
    mask_score: float
    tokens: int
    max_tokens: int
    words_read: int
    unknown: float
    unknown_words: tuple[str, ...]
    seconds: float

    @property
    def response(self) -> NDArray[np.float32]:
        """Step-1's map (H, W) in [0, 1], divided by its maximum; made anew each time, as it is four times the mask."""
        height, width = self.mask.shape
        grid = torch.from_numpy(self.grid)[None]
        return normalised_at(grid, size=self.size, height=height, width=width)[0].numpy()

    @property
    def cut(self) -> bool:
        """Whether the models read the beginning of the sentence only."""
        return self.tokens > self.max_tokens

    def in_words(self) -> str:
        """One line for people: confidence, size of the mask, time, and what of the sentence did not reach the models."""
        marked = f"{self.mask.mean():.1%} of the image" if self.mask.any() else "nothing marked"
        line = (
            f"confidence {self.score:.3f} ({self.mask_score:.3f}), {marked}, {self.seconds:.2f} s"
        )
        if self.cut:
            line += f", cut from {self.tokens} to {self.max_tokens} tokens"
        return f"{line}, {self.unknown:.0%} of the words unknown" if self.unknown else line


class _Reader:
    """How a model of either step wants its inputs: the square of the image, and the sentence's tokens."""

    def __init__(self, config: dict[str, Any], device: torch.device) -> None:
        self.size: int = config["size"]
        self.max_tokens: int = config["text"]["max_tokens"]
        self._overflow: str = config["text"]["overflow"]
        self._tokenizer = Tokenizer(config["clip"]["vocabulary"])
        self._device = device

    def image(self, pixels: NDArray[np.uint8]) -> Tensor:
        """(1, 3, size, size) float32 of RGB pixels (H, W, 3)."""
        return normalise(to_tensor(resize_square(pixels, self.size))[None].to(self._device))

    def tokens(self, text: str) -> Tensor:
        """(1, max_tokens) int32; what is too long is cut as in training."""
        return self._tokenizer([text], self.max_tokens, overflow=self._overflow).to(self._device)

    def length(self, text: str) -> int:
        return len(self._tokenizer.words(text)) + 2

    def words_read(self, text: str) -> int:
        """How many words, from the first, come whole before the cut."""
        words, room = text.split(), self.max_tokens - (1 if self._overflow == "cut" else 2)
        return bisect_right(
            range(1, len(words) + 1), room, key=lambda n: self.length(" ".join(words[:n])) - 2
        )

    def unknown_share(self, text: str) -> float:
        return self._tokenizer.unknown_share([text])


class Predictor:
    """A trained Step-1 and Step-2, ready for images."""

    def __init__(
        self,
        step1: Step1,
        config1: dict[str, Any],
        step2: Step2,
        config2: dict[str, Any],
        device: torch.device,
    ):
        """Networks, and the `config.json` of each (`tris_core.weights.model_folder`)."""
        place(step1.eval(), device)
        place(step2.eval(), device)
        self._step1, self._step2 = step1, step2
        self._reader1, self._reader2 = _Reader(config1, device), _Reader(config2, device)

    @staticmethod
    def load(
        step1: Path | str | None = None,
        step2: Path | str | None = None,
        *,
        device: str | None = None,
    ) -> "Predictor":
        """Models from two folders, by default `default_models`; a GPU is used where there is one.

        Weights of any float type become float32. Raises `InputError` where a folder holds no such model, or where one of
        the two is named without the other: Step-1 and Step-2 belong together.
        """
        if (step1 is None) != (step2 is None):
            raise InputError(
                "only one of step1 and step2 is named; name both, which belong together, or neither"
            )
        folder1, folder2 = (
            default_models() if step1 is None or step2 is None else (Path(step1), Path(step2))
        )
        place_of_work = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        network1, config1 = load_model(folder1, "Step-1", build_step1)
        network2, config2 = load_model(folder2, "Step-2", build_step2)
        return Predictor(network1, config1, network2, config2, place_of_work)

    def predict(
        self, image: Picture, texts: Sequence[str], *, threshold: float = 0.0
    ) -> list[Prediction]:
        """`each` sentence's `Prediction`, in a list."""
        return list(self.each(image, texts, threshold=threshold))

    @torch.inference_mode()
    def each(
        self, image: Picture, texts: Sequence[str], *, threshold: float = 0.0
    ) -> Iterator[Prediction]:
        """One `Prediction` per sentence, in their order; the image is encoded once.

        `image` is a file, a picture that PIL has opened, or RGB pixels (H, W, 3) uint8. A pixel belongs to the mask
        where Step-2's logit at the image's own size is over `threshold` (D51); there may be none. Raises `InputError`
        for an unusable image or an empty sentence.
        """
        check_texts(texts)
        pixels = _pixels(image)
        height, width = pixels.shape[:2]
        visual = self._step1.encode_image(self._reader1.image(pixels))
        stages = self._step2.encode_image(self._reader2.image(pixels))
        del image, pixels  # many times what the squares take
        for text in texts:
            yield self._one(text, visual, stages, height, width, threshold)

    def _one(
        self,
        text: str,
        visual: Tensor,
        stages: list[Tensor],
        height: int,
        width: int,
        threshold: float,
    ) -> Prediction:
        started = time.monotonic()
        reader1, reader2 = self._reader1, self._reader2
        grid = self._step1.respond_pairs(
            visual, self._step1.encode_text(reader1.tokens(text))
        ).cpu()
        small = self._step2.segment(stages, reader2.tokens(text), reader2.size)[:, 0].cpu()
        logits = to_original(small, height=height, width=width)
        mask, mask_score = _over(logits[0], threshold)
        x, y = first_maxima([0], logits.numpy())[0].tolist()
        return Prediction(
            text=text,
            mask=mask,
            grid=grid[0].numpy(),
            size=reader1.size,
            logits=small[0].numpy(),
            point=(x, y),
            score=logits.max().sigmoid().item(),
            mask_score=mask_score,
            tokens=max(reader1.length(text), reader2.length(text)),
            max_tokens=min(reader1.max_tokens, reader2.max_tokens),
            words_read=min(reader1.words_read(text), reader2.words_read(text)),
            unknown=max(reader1.unknown_share(text), reader2.unknown_share(text)),
            unknown_words=tuple(
                w for w in text.split() if reader1.unknown_share(w) or reader2.unknown_share(w)
            ),
            seconds=time.monotonic() - started,
        )


def mask_of(
    logits: NDArray[np.float32], *, height: int, width: int, threshold: float
) -> tuple[NDArray[np.bool_], float]:
    """A prediction's mask (H, W) and `mask_score` for another threshold, from its `logits` (h, w), without a network."""
    return _over(
        to_original(torch.from_numpy(logits)[None], height=height, width=width)[0], threshold
    )


def _over(logits: Tensor, threshold: float) -> tuple[NDArray[np.bool_], float]:
    mask = logits > threshold
    inside = int(mask.count_nonzero())  # the sum of a bool tensor would make it int64 first
    rows = max(1, BAND // logits.shape[1])
    parts = zip(
        logits.split(rows), mask.split(rows), strict=True
    )  # a selection takes three times what it selects from
    total = sum(part[chosen].sigmoid().sum(dtype=torch.float64).item() for part, chosen in parts)
    return mask.numpy(), total / inside if inside else 0.0


def _pixels(image: Picture) -> NDArray[np.uint8]:
    if isinstance(image, np.ndarray):
        return image
    return as_displayed(image) if isinstance(image, Image.Image) else read_image(Path(image))


def check_texts(texts: Sequence[str]) -> None:
    """Raises `InputError` for no sentence, an empty one, or a bare string where a list of sentences is meant."""
    if isinstance(texts, str):
        raise InputError(f"{texts!r} is one sentence; give a list of sentences")
    if not texts:
        raise InputError("no sentence is given; give at least one")
    for number, text in enumerate(texts, start=1):
        if not text.strip():
            raise InputError(f"sentence {number} is empty; say what to mark")


def default_models() -> tuple[Path, Path]:
    """Step-1 and Step-2 of the last run under the current folder; where there is none, the demo that the package carries.

    Raises `InputError` where there is neither.
    """
    for pair in (LAST_RUN, DEMO):
        if all((folder / "config.json").is_file() for folder in pair):
            return pair
    raise InputError(
        f"{' and '.join(map(str, LAST_RUN))}: no models there; train them (`dvc repro`) or name their folders"
    )
