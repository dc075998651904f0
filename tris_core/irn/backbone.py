"""The frozen backbone of the boundary network: a CLIP image tower with taps at strides 4, 4, 8, 16, 16."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tris_core.clip.towers import stage_features
from tris_core.irn.network import IRN

STRIDE = 16


def freeze_at_stride_16(visual: nn.Module) -> nn.Module:
    """Turn a CLIP tower into the backbone: its last stage keeps the stride, nothing learns, batch norm stays as it is.

    A ResNet's layer4 no longer pools. A ConvNeXt's last 2x2 convolution moves by one pixel and sees zeros past the border.
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
    """Five maps of normalised images (B, 3, H, W), H and W multiples of 16."""
    with torch.no_grad():
        return stage_features(visual, image)


@torch.inference_mode()
def boundaries(visual: nn.Module, irn: IRN, image: Tensor) -> tuple[Tensor, Tensor]:
    """Boundary probabilities (h, w) and displacements (2, h, w) of one normalised image (3, H, W), at stride 4.

    As released, boundary logits are averaged with those of the mirrored image.
    """
    padded = pad_to_stride(image)
    logits, displacement = irn(backbone_taps(visual, torch.stack([padded, padded.flip(2)])))
    edge = ((logits[0, 0] + logits[1, 0].flip(1)) / 2).sigmoid()
    return crop_to_image(edge, image), crop_to_image(displacement[0], image)


@torch.inference_mode()
def displacements(visual: nn.Module, irn: IRN, image: Tensor) -> Tensor:
    """The displacements of `boundaries` alone, in half the time."""
    return crop_to_image(irn(backbone_taps(visual, pad_to_stride(image)[None]))[1][0], image)


def pad_to_stride(image: Tensor) -> Tensor:
    """(3, H, W) padded with mean colour to multiples of 16: this tower's pools lose what does not fill a window."""
    height, width = image.shape[1:]
    return F.pad(image, (0, -width % STRIDE, 0, -height % STRIDE))


def crop_to_image(x: Tensor, image: Tensor) -> Tensor:
    """The part of a stride-4 map (..., h', w') of a padded image that lies on `image` (3, H, W)."""
    return x[..., : -(-image.shape[1] // 4), : -(-image.shape[2] // 4)]
