"""The frozen CLIP that scores masked images: Eq. 9, used by Eq. 8 and Eq. 10."""

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from open_clip.model import CLIP
from torch import Tensor

from tris_core.clip.towers import encode_words, sentence_feature


def masked_image(image: Tensor, response_BHW: Tensor, *, size: int) -> Tensor:
    """I * up(R) of Eq. 9, (B, 3, size, size): what the scorer sees of the normalised `image` (B, 3, S, S).

    As released: the map up to the image's size (align_corners=False), sigmoid, then map and image to the scorer's size
    (align_corners=True). A masked-out pixel is 0, the data set's mean colour.
    """
    mask = F.interpolate(
        response_BHW[:, None], image.shape[2:], mode="bilinear", align_corners=False
    ).sigmoid()
    return resize_for_scorer(mask, size) * resize_for_scorer(image, size)


def resize_for_scorer(x: Tensor, size: int) -> Tensor:
    """(B, C, S, S) to (B, C, size, size), bilinear with aligned corners and no antialiasing, as released."""
    return F.interpolate(x, (size, size), mode="bilinear", align_corners=True)


TABLE_BYTES = 4_000_000_000  # two million sentences of 512 float32


class SentenceFeatures:
    """The scorer's unit features of sentences, by their rows in the table of expressions.

    The scorer is frozen, so every sentence is encoded once and kept, as long as the table of all (L, E) takes at most
    `budget` bytes of the device's memory. Beyond it, rows are encoded each time they are asked for.
    """

    def __init__(
        self, scorer: CLIP, tokens: Tensor, device: torch.device, *, budget: int = TABLE_BYTES
    ) -> None:
        """`tokens` (L, T) are the scorer's token ids; `scorer` is on `device`."""
        self._scorer, self._tokens, self._device = scorer, tokens, device
        width = scorer.text_projection.shape[1]
        self._bytes = 4 * len(tokens) * width
        self._table = self._encode_all(width) if self._bytes <= budget else None

    def __getitem__(self, rows: NDArray[np.int64]) -> Tensor:
        """Features (..., E) float32 on the device, of rows (...)."""
        if self._table is not None:
            return self._table[rows]
        made = self._encode(self._tokens[rows.reshape(-1)])
        return made.view(*rows.shape, -1)

    def describe(self) -> str:
        """What the features take: "142000 sentences encoded once, a table of 291 MB"."""
        megabytes = f"{self._bytes / 1e6:.0f} MB"
        if self._table is not None:
            return f"{len(self._tokens)} sentences encoded once, a table of {megabytes}"
        return (
            f"{len(self._tokens)} sentences encoded at each use, their table would take {megabytes}"
        )

    @torch.no_grad()
    def _encode(self, tokens: Tensor) -> Tensor:
        tokens = tokens.to(self._device)
        return F.normalize(
            sentence_feature(self._scorer, encode_words(self._scorer, tokens), tokens), dim=1
        )

    def _encode_all(self, width: int, batch: int = 512) -> Tensor:
        table = torch.empty(len(self._tokens), width, device=self._device)
        for part, tokens in zip(table.split(batch), self._tokens.split(batch), strict=True):
            part.copy_(self._encode(tokens))
        return table
