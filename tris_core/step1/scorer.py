"""The scorer (Eq. 9): a frozen CLIP that compares a masked image with a sentence.

Training calibrates responses with it (Eq. 8), PRMS ranks them (Eq. 10).
Shapes: B images, L sentences, E the joint embedding.
"""

from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from open_clip.model import CLIP
from torch import Tensor

from tris_core.clip.sources import load_clip
from tris_core.clip.towers import encode_words, sentence_feature
from tris_core.runtime.device import place
from tris_core.weights.clip_spec import ClipSpec

Mask = Literal["sigmoid", "relu"]
TABLE_BYTES = 4_000_000_000  # two million sentences of 512 float32


class Scorer:
    """S(I, R, Q) of Eq. 9: the cosine of `seen(I, R)` and the feature of sentence Q.

    Both features have unit length, so the cosine is their dot product.
    """

    def __init__(self, clip: CLIP, size: int) -> None:
        """`size` is the side of the images that `clip` takes, in pixels."""
        self.clip = clip.requires_grad_(False).eval()
        self.size = size

    @classmethod
    def load(cls, clip: ClipSpec, device: torch.device) -> "Scorer":
        """Load a CLIP of models/clip.json to `device`."""
        return cls(place(load_clip(clip), device), clip.image_size)

    def seen(self, image: Tensor, response_BHW: Tensor, mask: Mask) -> Tensor:
        """Unit features (B, E) of images masked by their responses, see `masked_image`."""
        masked = masked_image(image, response_BHW, self.size, mask)
        return F.normalize(self.clip.encode_image(masked).float(), dim=1)

    @torch.no_grad()
    def sentence(self, tokens: Tensor) -> Tensor:
        """Unit features (L, E) of token ids (L, T)."""
        words = encode_words(self.clip, tokens)
        return F.normalize(sentence_feature(self.clip, words, tokens), dim=1)


def masked_image(image: Tensor, response_BHW: Tensor, size: int, mask: Mask) -> Tensor:
    """I * up(R) of Eq. 9, (B, 3, size, size): what the scorer sees.

    As in the release, the map is resized to the image (align_corners=False) and turned into a
    mask; then mask and image are resized to the scorer's size (align_corners=True). A masked-out
    pixel is 0, the mean colour of ImageNet. See docs/paper_vs_code.md#scorer-input.

    Args:
        image: Normalised images (B, 3, S, S), or one for all maps (1, 3, S, S).
        response_BHW: Raw response maps.
        size: Side of the result in pixels.
        mask: `sigmoid` as in training, or `relu`: the unbounded positive response, as PRMS was
            released.
    """
    grown = F.interpolate(
        response_BHW[:, None], image.shape[2:], mode="bilinear", align_corners=False
    )
    kept = grown.relu() if mask == "relu" else grown.sigmoid()
    return _resize(kept, size) * _resize(image, size)


def _resize(x: Tensor, size: int) -> Tensor:
    """Bilinear with aligned corners and no antialiasing, as in the release."""
    return F.interpolate(x, (size, size), mode="bilinear", align_corners=True)


class SentenceFeatures:
    """The scorer's features of sentences, by row of the expressions table.

    The scorer is frozen, so every sentence is encoded once, as long as the table of all features
    fits into `budget` bytes. Beyond that, rows are encoded whenever they are asked for.
    """

    def __init__(
        self, scorer: Scorer, tokens: Tensor, device: torch.device, *, budget: int = TABLE_BYTES
    ) -> None:
        """`tokens` (L, T) are token ids of the scorer's vocabulary; the scorer is on `device`."""
        self._scorer, self._tokens, self._device = scorer, tokens, device
        width = scorer.clip.text_projection.shape[1]
        self._bytes = 4 * len(tokens) * width
        self._table = self._encode_all(width) if self._bytes <= budget else None

    def __getitem__(self, rows: NDArray[np.int64]) -> Tensor:
        """Unit features (..., E) float32 on the device, for rows (...)."""
        if self._table is not None:
            return self._table[rows]
        tokens = self._tokens[rows.reshape(-1)]
        return self._scorer.sentence(tokens.to(self._device)).view(*rows.shape, -1)

    def describe(self) -> str:
        """For example "142000 sentences encoded once, a table of 291 MB"."""
        count, megabytes = len(self._tokens), f"{self._bytes / 1e6:.0f} MB"
        if self._table is not None:
            return f"{count} sentences encoded once, a table of {megabytes}"
        return f"{count} sentences encoded at each use, a table would take {megabytes}"

    def _encode_all(self, width: int, batch: int = 512) -> Tensor:
        table = torch.empty(len(self._tokens), width, device=self._device)
        for part, tokens in zip(table.split(batch), self._tokens.split(batch), strict=True):
            part.copy_(self._scorer.sentence(tokens.to(self._device)))
        return table
