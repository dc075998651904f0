"""Mark what sentences describe in one picture.

The numbers are the pipeline's: the same square, networks, resizing and threshold.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from tris_core.clip.tokenizer import Tokenizer
from tris_core.data.images import as_displayed, read_image
from tris_core.data.maps import first_maxima, normalised_at, to_original
from tris_core.data.transforms import normalise, resize_square
from tris_core.runtime.device import place
from tris_core.runtime.errors import InputError
from tris_core.step1.network import Step1, build_step1
from tris_core.step2.network import Step2, build_step2
from tris_core.weights.configs import Step1Config, Step2Config
from tris_core.weights.model_folder import load_model

_ASSETS = Path(__file__).parents[1] / "assets"
LAST_RUN = (Path("models/step1"), Path("models/step2"))
DEMO = (_ASSETS / "demo_step1", _ASSETS / "demo_step2")
BAND = 2**20  # pixels whose probabilities are computed at a time

Picture = Path | str | Image.Image | NDArray[np.uint8]


@dataclass(frozen=True)
class Prediction:
    """What one sentence marks in an image of H x W pixels, as displayed (EXIF orientation applied).

    Attributes:
        text: the sentence.
        mask: (H, W) bool.
        grid: (h, w) float32, Step-1's logits for a square of `size` pixels; see `response`.
        size: side of Step-1's square in pixels.
        logits: (h, w) float32, Step-2's; `mask_of` makes the mask of another threshold from them.
        point: x, y of the pixel with Step-2's highest probability.
        score: that probability.
        mask_score: the mean probability over the mask; 0 if the mask is empty.
        tokens: length of the sentence, start and end included.
        max_tokens: how many of them the models read.
        words_read: how many of the words between white space, from the first, are read whole.
        unknown: share of the tokens, in [0, 1], outside the models' vocabulary.
        unknown_words: the words with such tokens.
        seconds: time for this sentence, without the encoding of the image.
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
        """Step-1's map (H, W) in [0, 1], divided by its maximum.

        Computed at every access: it takes four times the memory of the mask.
        """
        height, width = self.mask.shape
        grid = torch.from_numpy(self.grid)[None]
        return normalised_at(grid, size=self.size, height=height, width=width)[0].numpy()

    @property
    def cut(self) -> bool:
        """Whether the models read only the beginning of the sentence."""
        return self.tokens > self.max_tokens

    def in_words(self) -> str:
        """One line for people: confidence, mask size, time, and what the models did not read."""
        marked = f"{self.mask.mean():.1%} of the image" if self.mask.any() else "nothing marked"
        line = (
            f"confidence {self.score:.3f} ({self.mask_score:.3f}), {marked}, {self.seconds:.2f} s"
        )
        if self.cut:
            line += f", cut from {self.tokens} to {self.max_tokens} tokens"
        return f"{line}, {self.unknown:.0%} of the words unknown" if self.unknown else line


class _Reader:
    """Turns an image and a sentence into the inputs of a model of either step."""

    def __init__(self, config: Step1Config | Step2Config, device: torch.device) -> None:
        self.size = config.size
        self.max_tokens = config.text.max_tokens
        self._overflow = config.text.overflow
        self._pixels = config.clip.pixels
        self._tokenizer = Tokenizer(config.clip.vocabulary)
        self._device = device

    def image(self, pixels: NDArray[np.uint8]) -> Tensor:
        """(1, 3, size, size) float32 of RGB pixels (H, W, 3)."""
        square = torch.tensor(resize_square(pixels, self.size))[None].to(self._device)
        return normalise(square, self._pixels)

    def tokens(self, text: str) -> Tensor:
        """(1, max_tokens) int32; a longer sentence is cut as in training."""
        return self._tokenizer([text], self.max_tokens, overflow=self._overflow).to(self._device)

    def length(self, text: str) -> int:
        """Tokens of the whole sentence, start and end included."""
        return len(self._tokenizer.words(text)) + 2

    def words_read(self, text: str) -> int:
        """How many words, from the first, are read whole."""
        words, left = text.split(), self.max_tokens - (1 if self._overflow == "cut" else 2)
        for count, word in enumerate(words):
            left -= len(self._tokenizer.words(word))
            if left < 0:
                return count
        return len(words)

    def unknown_share(self, text: str) -> float:
        return self._tokenizer.unknown_share([text])


class Predictor:
    """A trained Step-1 and Step-2, ready for images."""

    def __init__(
        self,
        step1: Step1,
        config1: Step1Config,
        step2: Step2,
        config2: Step2Config,
        device: torch.device,
    ) -> None:
        """Networks and their configurations (`tris_core.weights.model_folder`)."""
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
        """Load the models of two folders.

        Args:
            step1, step2: model folders that belong together; by default `default_models`.
            device: by default a GPU if there is one.

        Raises:
            InputError: a folder holds no such model, or only one of the two is given.
        """
        if (step1 is None) != (step2 is None):
            raise InputError(
                "only one of step1 and step2 is named; name both, which belong together, or neither"
            )
        if step1 is None or step2 is None:
            folder1, folder2 = default_models()
        else:
            folder1, folder2 = Path(step1), Path(step2)
        where = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        network1, config1 = load_model(folder1, Step1Config, build_step1)
        network2, config2 = load_model(folder2, Step2Config, build_step2)
        return Predictor(network1, config1, network2, config2, where)

    def predict(
        self, image: Picture, texts: Sequence[str], *, threshold: float = 0.0
    ) -> list[Prediction]:
        """The predictions of `each`, in a list."""
        return list(self.each(image, texts, threshold=threshold))

    @torch.inference_mode()
    def each(
        self, image: Picture, texts: Sequence[str], *, threshold: float = 0.0
    ) -> Iterator[Prediction]:
        """One `Prediction` per sentence, in their order. The image is encoded once.

        Args:
            image: a file, an open PIL image, or RGB pixels (H, W, 3) uint8.
            texts: the sentences.
            threshold: of Step-2's logit at the image's own size; pixels above it form the mask,
                which may be empty (docs/paper_vs_code.md#threshold).

        Raises:
            InputError: the image is unusable or a sentence is empty.
        """
        check_texts(texts)
        pixels = _pixels(image)
        height, width = pixels.shape[:2]
        visual = self._step1.encode_image(self._reader1.image(pixels))
        stages = self._step2.encode_image(self._reader2.image(pixels))
        del image, pixels  # they take many times the memory of the squares
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
        one, two = self._reader1, self._reader2
        grid = self._step1.respond_pairs(visual, self._step1.encode_text(one.tokens(text))).cpu()
        small = self._step2.segment(stages, two.tokens(text), two.size)[:, 0].cpu()
        logits = to_original(small, height=height, width=width)
        mask, mask_score = _over(logits[0], threshold)
        x, y = first_maxima([0], logits.numpy())[0].tolist()
        words = text.split()
        return Prediction(
            text=text,
            mask=mask,
            grid=grid[0].numpy(),
            size=one.size,
            logits=small[0].numpy(),
            point=(x, y),
            score=logits.max().sigmoid().item(),
            mask_score=mask_score,
            tokens=max(one.length(text), two.length(text)),
            max_tokens=min(one.max_tokens, two.max_tokens),
            words_read=min(one.words_read(text), two.words_read(text)),
            unknown=max(one.unknown_share(text), two.unknown_share(text)),
            unknown_words=tuple(w for w in words if one.unknown_share(w) or two.unknown_share(w)),
            seconds=time.monotonic() - started,
        )


def mask_of(
    logits: NDArray[np.float32], *, height: int, width: int, threshold: float
) -> tuple[NDArray[np.bool_], float]:
    """A prediction's mask (H, W) and `mask_score` for another threshold, without a network.

    `logits` (h, w) are those of the prediction.
    """
    at_size = to_original(torch.from_numpy(logits)[None], height=height, width=width)
    return _over(at_size[0], threshold)


def _over(logits: Tensor, threshold: float) -> tuple[NDArray[np.bool_], float]:
    """The mask over a threshold, and its mean probability. Bands of rows keep memory low."""
    mask = logits > threshold
    inside = int(mask.count_nonzero())  # `sum` would first convert to int64
    rows = max(1, BAND // logits.shape[1])
    total = 0.0
    for part, chosen in zip(logits.split(rows), mask.split(rows), strict=True):
        total += part[chosen].sigmoid().sum(dtype=torch.float64).item()
    return mask.numpy(), total / inside if inside else 0.0


def _pixels(image: Picture) -> NDArray[np.uint8]:
    if isinstance(image, np.ndarray):
        return image
    if isinstance(image, Image.Image):
        return np.asarray(as_displayed(image))
    return read_image(Path(image))


def check_texts(texts: Sequence[str]) -> None:
    """Raise `InputError` for an empty list, an empty sentence, or a string instead of a list."""
    if isinstance(texts, str):
        raise InputError(f"{texts!r} is one sentence; give a list of sentences")
    if not texts:
        raise InputError("no sentence is given; give at least one")
    for number, text in enumerate(texts, start=1):
        if not text.strip():
            raise InputError(f"sentence {number} is empty; say what to mark")


def default_models() -> tuple[Path, Path]:
    """Step-1 and Step-2 of the last run under the current folder, or else the package's demo.

    Raises `InputError` if there is neither.
    """
    for pair in (LAST_RUN, DEMO):
        if all((folder / "config.json").is_file() for folder in pair):
            return pair
    raise InputError(
        f"{' and '.join(map(str, LAST_RUN))}: no models there; "
        "train them (`dvc repro`) or name their folders"
    )
