"""The scorer (Eq. 9): a frozen CLIP that compares a masked image with a sentence.

Training calibrates responses with it (Eq. 8), PRMS ranks them (Eq. 10).
Shapes: B images, L sentences, E the joint embedding.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from open_clip.model import CLIP
from torch import Tensor

from tris_core.clip.sources import load_clip
from tris_core.clip.towers import encode_words, sentence_feature
from tris_core.data.resize import bilinear
from tris_core.data.transforms import Pixels
from tris_core.runtime.device import place
from tris_core.weights.clip_spec import ClipSpec

Mask = Literal["sigmoid", "relu"]
Fill = Literal["mean", "blur", "crop"]
BLUR_CELLS = 14  # a side; a sixteenth of what a ViT-B/32 takes
TABLE_BYTES = 4_000_000_000  # two million sentences of 512 float32


class Scorer:
    """S(I, R, Q) of Eq. 9: the cosine of `seen(I, R)` and the feature of sentence Q.

    Both features have unit length, so the cosine is their dot product.
    """

    def __init__(
        self, clip: CLIP, size: int, *, fill: Fill = "mean", pixels: Pixels | None = None
    ) -> None:
        """
        Args:
            clip: The CLIP.
            size: Side of the images that it takes, in pixels.
            fill: What it sees outside of a mask, see `masked_image`.
            pixels: What images are normalised with, see `normalise`.
        """
        self.clip = clip.requires_grad_(False).eval()
        self.size, self.fill, self.pixels = size, fill, pixels

    @classmethod
    def load(cls, clip: ClipSpec, device: torch.device, fill: Fill) -> "Scorer":
        """Load a CLIP of models/clip.json to `device`."""
        network = place(load_clip(clip), device)
        return cls(network, clip.image_size, fill=fill, pixels=clip.pixels)

    def seen(self, image: Tensor, response_BHW: Tensor, mask: Mask) -> Tensor:
        """Unit features (B, E) of images masked by their responses, see `masked_image`."""
        masked = masked_image(image, response_BHW, self.size, mask, self.fill)
        return F.normalize(self.clip.encode_image(masked).float(), dim=1)

    @torch.no_grad()
    def sentence(self, tokens: Tensor) -> Tensor:
        """Unit features (L, E) of token ids (L, T)."""
        words = encode_words(self.clip, tokens)
        return F.normalize(sentence_feature(self.clip, words, tokens), dim=1)


def masked_image(
    image: Tensor, response_BHW: Tensor, size: int, mask: Mask, fill: Fill = "mean"
) -> Tensor:
    """I * up(R) of Eq. 9, (B, 3, size, size): what the scorer sees.

    As in the release, the map is resized to the image (align_corners=False) and turned into a
    mask; then mask and image are resized to the scorer's size (align_corners=True). A masked-out
    pixel is 0, the mean colour. See docs/paper_vs_code.md#scorer-input.

    Args:
        image: Normalised images (B, 3, S, S), or one for all maps (1, 3, S, S).
        response_BHW: Raw response maps.
        size: Side of the result in pixels.
        mask: `sigmoid` as in training, or `relu`: the unbounded positive response, as PRMS was
            released.
        fill: `mean`, as above; `blur`: what the mask takes from the image is filled up with the
            blurred image; `crop`: the box around the positive response, unmasked and resized,
            through which no gradient reaches the response.
    """
    grown = bilinear(response_BHW[:, None], _sides(image), align_corners=False)
    if fill == "crop":
        return _cropped(image, grown[:, 0] > 0, size)
    kept = _resize(grown.relu() if mask == "relu" else grown.sigmoid(), size)
    seen = kept * _resize(image, size)
    if fill == "blur":
        seen = seen + (1 - kept).clamp(min=0) * _resize(_blurred(image), size)
    return seen


def _blurred(image: Tensor) -> Tensor:
    """The means of `BLUR_CELLS` x `BLUR_CELLS` cells, enlarged to the image's size."""
    cells = F.adaptive_avg_pool2d(image, BLUR_CELLS)
    return bilinear(cells, _sides(image), align_corners=False)


def _cropped(image: Tensor, inside_BSS: Tensor, size: int) -> Tensor:
    """The box around the pixels inside, resized as by `_resize`; all of it if there are none."""
    top, bottom = _ends(inside_BSS.any(dim=2))
    left, right = _ends(inside_BSS.any(dim=1))
    zero = torch.zeros_like(top)
    rows = [[right - left, zero, left + right], [zero, bottom - top, top + bottom]]
    theta = torch.stack([torch.stack(row, dim=1) for row in rows], dim=1)  # first to last pixel
    grid = F.affine_grid(theta, [len(theta), 3, size, size], align_corners=True)
    return F.grid_sample(image.expand(len(theta), -1, -1, -1), grid, align_corners=True)


def _ends(inside_BS: Tensor) -> tuple[Tensor, Tensor]:
    """First and last True of each row, from -0.5, the first pixel of a side, to 0.5, its last.

    A row without any has both ends.
    """
    last = inside_BS.shape[1] - 1
    inside = inside_BS.int()
    first_at, last_at = inside.argmax(dim=1), last - inside.flip(1).argmax(dim=1)
    return first_at / last - 0.5, last_at / last - 0.5


def _resize(x: Tensor, size: int) -> Tensor:
    """Bilinear with aligned corners and no antialiasing, as in the release."""
    return bilinear(x, (size, size), align_corners=True)


def _sides(image: Tensor) -> tuple[int, int]:
    return image.shape[2], image.shape[3]


class SentenceFeatures:
    """The scorer's features of sentences, by row of the expressions table.

    The scorer is frozen, so every sentence is encoded once, as long as the table of all features
    fits into `budget` bytes. Beyond that, rows are encoded whenever they are asked for.
    """

    def __init__(
        self, scorer: Scorer, tokens: Tensor, device: torch.device, *, budget: int = TABLE_BYTES
    ) -> None:
        """`tokens` (L, T) are token ids of the scorer's vocabulary; the scorer is on `device`."""
        self._scorer, self._tokens = scorer, tokens.to(device)
        width = scorer.clip.text_projection.shape[1]
        self._bytes = 4 * len(tokens) * width
        self._table = self._encode_all(width) if self._bytes <= budget else None

    def __getitem__(self, rows: Tensor) -> Tensor:
        """Unit features (..., E) float32 of rows (...) int64, both on the device."""
        if self._table is not None:
            return self._table[rows]
        return self._scorer.sentence(self._tokens[rows.flatten()]).view(*rows.shape, -1)

    def describe(self) -> str:
        """For example "142000 sentences encoded once, a table of 291 MB"."""
        count, megabytes = len(self._tokens), f"{self._bytes / 1e6:.0f} MB"
        if self._table is not None:
            return f"{count} sentences encoded once, a table of {megabytes}"
        return f"{count} sentences encoded at each use, a table would take {megabytes}"

    def _encode_all(self, width: int, batch: int = 512) -> Tensor:
        table = torch.empty(len(self._tokens), width, device=self._tokens.device)
        for part, tokens in zip(table.split(batch), self._tokens.split(batch), strict=True):
            part.copy_(self._scorer.sentence(tokens))
        return table
