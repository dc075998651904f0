"""Responses of CLIP itself, without any training: baselines for Step-1.

A baseline has the methods of `tris_core.step1.inference.Responder` and gives maps of the same size
as Step-1. Shapes: B images or sentences, P pairs, C channels, E the joint embedding, H W the map.
"""

from typing import Any

import torch
import torch.nn.functional as F
from open_clip.model import CLIP
from open_clip.modified_resnet import ModifiedResNet
from torch import Tensor, nn

from tris_core.clip.towers import encode_words, sentence_feature, stage_features
from tris_core.runtime.errors import InputError

Pixels = tuple[list[float], list[float]]


class Baseline(nn.Module):
    """A CLIP with a ResNet image tower, because both methods use its attention pool.

    `pixels` is what images are normalised with, None for ImageNet's mean and deviation.

    Raises `InputError`, which gives `name`, for other towers.
    """

    def __init__(self, clip: CLIP, name: str, pixels: Pixels | None = None) -> None:
        super().__init__()
        self.pixels = pixels
        if not isinstance(clip.visual, ModifiedResNet):
            raise InputError(
                f"prepare_clip.backbone = {name!r}: dump_responses.method needs a ResNet tower "
                "such as RN50-quickgelu"
            )
        self.backbone = clip
        self.pool: Any = clip.visual.attnpool

    def encode_image(self, image: Tensor) -> Tensor:
        """The map (B, C, H, W) of layer4."""
        return stage_features(self.backbone.visual, image)[-1]

    def encode_text(self, tokens: Tensor) -> Tensor:
        """Unit sentence features (B, E) of token ids (B, T)."""
        return F.normalize(
            sentence_feature(self.backbone, encode_words(self.backbone, tokens), tokens), dim=1
        )


class DenseClip(Baseline):
    """Similarity of the sentence to the value of every pixel in the attention pool.

    Zhou et al., "Extract Free Dense Labels from CLIP", ECCV 2022.
    """

    def encode_image(self, image: Tensor) -> Tensor:
        """Unit values (B, E, H, W): the pooled feature if only this pixel were attended to."""
        values = self.pool.c_proj(self.pool.v_proj(super().encode_image(image).permute(0, 2, 3, 1)))
        return F.normalize(values, dim=-1).permute(0, 3, 1, 2)

    def respond_pairs(self, vis_PEHW: Tensor, lan_PE: Tensor) -> Tensor:
        """Cosines (P, H, W) minus their mean over the image, which depends little on the text."""
        cosine = torch.einsum("pehw,pe->phw", vis_PEHW, lan_PE)
        return cosine - cosine.mean(dim=(1, 2), keepdim=True)


class GradCam(Baseline):
    """Grad-CAM (Selvaraju et al., ICCV 2017) of the cosine of image and sentence, at layer4."""

    def respond_pairs(self, vis_PCHW: Tensor, lan_PE: Tensor) -> Tensor:
        """Channels weighted by the mean gradient of the cosine and summed, (P, H, W), no ReLU."""
        with torch.inference_mode(False), torch.enable_grad():
            vis = vis_PCHW.clone().requires_grad_()
            cosine = (F.normalize(self._pooled(vis), dim=1) * lan_PE.clone()).sum()
            (gradient,) = torch.autograd.grad(cosine, vis)
        return (gradient.mean(dim=(2, 3), keepdim=True) * vis_PCHW).sum(dim=1)

    def _pooled(self, vis_PCHW: Tensor) -> Tensor:
        """The attention pool (P, E); its position embeddings are interpolated to the map's size."""
        first, grid = self.pool.positional_embedding.split(
            [1, len(self.pool.positional_embedding) - 1]
        )
        side = round(len(grid) ** 0.5)
        square = grid.T.unflatten(1, (side, side))[None]
        grown = (
            F.interpolate(square, vis_PCHW.shape[2:], mode="bicubic", align_corners=False)[0]
            .flatten(1)
            .T
        )
        return torch.func.functional_call(
            self.pool, {"positional_embedding": torch.cat([first, grown])}, vis_PCHW
        )


BASELINES: dict[str, type[Baseline]] = {"dense_clip": DenseClip, "grad_cam": GradCam}
