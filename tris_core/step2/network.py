"""Step-2 network (Sec. 3.4): segmentation, learnt from pseudo-labels.

Shapes: B pairs of image and expression, T words, C channels, H W the map of an encoder stage.
"""

import math

import torch
import torch.nn.functional as F
from open_clip.model import CLIP
from torch import Tensor, nn

from tris_core.clip.towers import build_backbone, encode_words, stage_features
from tris_core.data.grouping import each
from tris_core.data.resize import bilinear
from tris_core.data.transforms import Pixels
from tris_core.weights.configs import Step2Config


class PixelAttention(nn.Module):
    """Every pixel attends to the words of the expression; the result gates the pixel."""

    def __init__(self, visual: int, text: int) -> None:
        super().__init__()
        self.Wq, self.Wm, self.Ww, self.Wo = (nn.Conv2d(visual, visual, 1) for _ in range(4))
        self.Wk, self.Wv = nn.Conv1d(text, visual, 1), nn.Conv1d(text, visual, 1)
        self.ins_q, self.ins_w = (
            nn.InstanceNorm2d(visual, affine=True),
            nn.InstanceNorm2d(visual, affine=True),
        )

    def forward(self, vis: Tensor, words_BCT: Tensor, image_of: Tensor | None = None) -> Tensor:
        """Language-aware pixels (B, C, H, W) of images `vis`, see `Step2.decode`.

        As in the release, padding is not masked.
        """
        query = each(self.ins_q(self.Wq(vis)).flatten(2).transpose(1, 2), image_of)
        attention = torch.softmax(query @ self.Wk(words_BCT) / math.sqrt(vis.shape[1]), dim=2)
        # A pixel's attention sums to 1, so Ww can be applied to words instead of pixels: there are
        # far fewer of them.
        values = self.Ww(self.Wv(words_BCT)[..., None]).flatten(2).transpose(1, 2)
        gathered = (attention @ values).transpose(1, 2).unflatten(2, vis.shape[2:])
        gate = each(F.relu(self.Wm(vis)), image_of)
        return F.relu(self.Wo(gate * self.ins_w(gathered)))


class ConvBlock(nn.Module):
    """3x3 convolution, batch norm, PReLU."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(outputs)
        self.relu = nn.PReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(self.bn(self.conv(x)))


def head(inputs: int, hidden: int) -> nn.Sequential:
    return nn.Sequential(ConvBlock(inputs, hidden), nn.Conv2d(hidden, 1, 1, bias=False))


class Step2(nn.Module):
    """CLIP encoders, pixel attention on the last three stages, and a decoder from coarse to fine.

    The decoder has `width` channels at the finest stage (64 in the release), twice as many at
    every coarser one, and a head at every scale. `pixels` is what images are normalised with, see
    `normalise`.
    """

    def __init__(
        self,
        clip: CLIP,
        *,
        stage_channels: tuple[int, int, int, int],
        text_width: int,
        width: int,
        pixels: Pixels | None = None,
    ) -> None:
        super().__init__()
        self.pixels = pixels
        self.backbone = clip
        c1, c2, c3, c4 = stage_channels
        self.attention2, self.attention3, self.attention4 = (
            PixelAttention(c, text_width) for c in (c2, c3, c4)
        )
        self.reduced_c1, self.reduced_c2 = ConvBlock(c1, width), ConvBlock(c2, 2 * width)
        self.reduced_c3, self.reduced_c4 = ConvBlock(c3, 4 * width), ConvBlock(c4, 8 * width)
        self.output4, self.output3 = (
            ConvBlock(8 * width, 4 * width),
            ConvBlock(4 * width, 2 * width),
        )
        self.output2, self.output1 = ConvBlock(2 * width, width), ConvBlock(width, width // 2)
        self.final_seg4, self.final_seg3 = head(4 * width, width), head(2 * width, width)
        self.final_seg2, self.final_seg1 = head(width, width // 2), head(width // 2, width // 2)

    def encode_image(self, image: Tensor) -> list[Tensor]:
        """The maps c1 .. c4 of the encoder's stages for images (B, 3, S, S)."""
        return stage_features(self.backbone.visual, image)[1:]

    def decode(
        self, stages: list[Tensor], tokens: Tensor, image_of: Tensor | None = None
    ) -> list[Tensor]:
        """The decoder's maps d1 .. d4 (B, C, H, W), finest first.

        Args:
            stages: Maps of `encode_image`.
            tokens: Token ids (B, T).
            image_of: Row in `stages` of each expression's image, (B,). What does not depend on
                text is then computed once per image. Without it, `stages` has a row for each
                expression or one for all.
        """
        words = encode_words(self.backbone, tokens).transpose(1, 2)
        c1, c2, c3, c4 = stages
        c2 = each(c2, image_of) + self.attention2(c2, words, image_of)
        c3 = each(c3, image_of) + self.attention3(c3, words, image_of)
        c4 = each(c4, image_of) + self.attention4(c4, words, image_of)
        d4 = _upsample(self.output4(self.reduced_c4(c4)), c3.shape)
        d3 = _upsample(self.output3(d4 + self.reduced_c3(c3)), c2.shape)
        d2 = _upsample(self.output2(d3 + self.reduced_c2(c2)), c1.shape)
        d1 = self.output1(d2 + each(self.reduced_c1(c1), image_of))
        return [d1, d2, d3, d4]

    def segment(
        self, stages: list[Tensor], tokens: Tensor, size: int, image_of: Tensor | None = None
    ) -> Tensor:
        """Logits (B, 1, size, size) of the finest head, the only one used after training."""
        return _upsample(self.final_seg1(self.decode(stages, tokens, image_of)[0]), (size, size))

    def forward(
        self, image: Tensor, tokens: Tensor, image_of: Tensor | None = None
    ) -> list[Tensor]:
        """Logits (B, 1, S, S) of all four heads, finest first. See `decode` for `image_of`."""
        maps = self.decode(self.encode_image(image), tokens, image_of)
        heads = (self.final_seg1, self.final_seg2, self.final_seg3, self.final_seg4)
        return [_upsample(logit(x), image.shape) for logit, x in zip(heads, maps, strict=True)]


def _upsample(x: Tensor, shape: tuple[int, ...]) -> Tensor:
    return bilinear(x, (shape[-2], shape[-1]), align_corners=False)


def deep_supervision_losses(logits: list[Tensor], target: Tensor) -> list[Tensor]:
    """Binary cross-entropy of every head against pseudo-labels (B, 1, S, S) in {0, 1}.

    In the order of `logits`. See docs/paper_vs_code.md#step2-loss.
    """
    return [F.binary_cross_entropy_with_logits(logit, target) for logit in logits]


def build_step2(config: Step2Config) -> Step2:
    """Step-2 with random weights."""
    model = config.model.content()
    return Step2(build_backbone(config.clip.config), **model, pixels=config.clip.pixels)
