"""The frozen backbone of the boundary network: a CLIP image tower.

It is tapped at strides 4, 4, 8, 16 and 16.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tris_core.clip.towers import stage_features
from tris_core.irn.network import IRN

STRIDE = 16


def freeze_at_stride_16(visual: nn.Module) -> nn.Module:
    """Freeze a CLIP tower in eval mode and keep the stride of its last stage at 16.

    In a ResNet, layer4 no longer pools. In a ConvNeXt, the last 2x2 convolution moves by one pixel
    and is padded with zeros.
    """
    if hasattr(visual, "trunk"):  # open_clip's adapter of a ConvNeXt
        last: Any = visual.trunk.stages[-1]  # type: ignore[union-attr, index]
        norm, conv = last.downsample
        conv.stride = (1, 1)
        last.downsample = nn.Sequential(norm, nn.ZeroPad2d((0, 1, 0, 1)), conv)
    else:
        block: Any = visual.layer4[0]  # type: ignore[index]
        block.avgpool = nn.Identity()
        block.downsample[0] = nn.Identity()
    return visual.requires_grad_(False).eval()


def backbone_taps(visual: nn.Module, image: Tensor) -> list[Tensor]:
    """The five taps of normalised images (B, 3, H, W), with H and W multiples of 16."""
    with torch.no_grad():
        return stage_features(visual, image)


@torch.inference_mode()
def boundaries(visual: nn.Module, irn: IRN, image: Tensor) -> tuple[Tensor, Tensor]:
    """Boundary probabilities (h, w) and displacements (2, h, w) of one image, at stride 4.

    `image` (3, H, W) is normalised. As in the release, boundary logits are averaged with those of
    the mirrored image.
    """
    padded = pad_to_stride(image)
    logits, displacement = irn(backbone_taps(visual, torch.stack([padded, padded.flip(2)])))
    edge = ((logits[0, 0] + logits[1, 0].flip(1)) / 2).sigmoid()
    return crop_to_image(edge, image), crop_to_image(displacement[0], image)


@torch.inference_mode()
def displacements(visual: nn.Module, irn: IRN, image: Tensor) -> Tensor:
    """Only the displacements of `boundaries`, in half the time."""
    return crop_to_image(irn(backbone_taps(visual, pad_to_stride(image)[None]))[1][0], image)


def pad_to_stride(image: Tensor) -> Tensor:
    """Pad (3, H, W) with the mean colour to multiples of 16, because pooling drops the rest."""
    height, width = image.shape[1:]
    return F.pad(image, (0, -width % STRIDE, 0, -height % STRIDE))


def crop_to_image(x: Tensor, image: Tensor) -> Tensor:
    """Crop the stride-4 map (..., h', w') of a padded image to that of `image` (3, H, W)."""
    return x[..., : -(-image.shape[1] // 4), : -(-image.shape[2] // 4)]
