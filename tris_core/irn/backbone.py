"""The frozen backbone of the boundary network: an ImageNet ResNet-50 or a CLIP image tower.

It is tapped at strides 4, 4, 8, 16 and 16. See docs/paper_vs_code.md#irn.
"""

from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models import ResNet

from tris_core.clip.imagenet import RESNET50_CHANNELS, load_resnet50
from tris_core.clip.sources import load_clip
from tris_core.clip.towers import pyramid_channels, stage_features
from tris_core.irn.network import IRN
from tris_core.runtime.errors import InputError
from tris_core.weights.clip_spec import ClipPair
from tris_core.weights.configs import IrnConfig, IrnModel

STRIDE = 16


def describe_irn(pair: ClipPair, backbone: Literal["clip", "imagenet"]) -> IrnConfig:
    """The boundary network on a backbone of models/clip.json."""
    clip = pair.backbone.with_own_tower()
    if backbone == "clip":
        return IrnConfig(clip=clip, model=IrnModel(channels=list(pyramid_channels(clip))))
    if pair.imagenet is None:
        raise InputError("models/clip.json: names no ImageNet file; run `dvc repro prepare_clip`")
    model = IrnModel(channels=list(RESNET50_CHANNELS))
    return IrnConfig(clip=clip, imagenet=pair.imagenet, model=model)


def load_backbone(config: IrnConfig) -> nn.Module:
    """The frozen backbone that a boundary network reads.

    Raises `InputError` if its file of weights is missing or has changed.
    """
    if config.imagenet is None:
        return freeze_at_stride_16(load_clip(config.clip).visual)
    return freeze_at_stride_16(load_resnet50(config.imagenet))


def freeze_at_stride_16(visual: nn.Module) -> nn.Module:
    """Freeze a backbone in eval mode and keep the stride of its last stage at 16.

    In a ConvNeXt, the last 2x2 convolution moves by one pixel and is padded with zeros. In a
    ResNet, the first block of layer4 no longer strides (torchvision's) or pools (CLIP's).
    """
    if hasattr(visual, "trunk"):  # open_clip's adapter of a ConvNeXt
        last: Any = visual.trunk.stages[-1]  # type: ignore[union-attr, index]
        norm, conv = last.downsample
        conv.stride = (1, 1)
        last.downsample = nn.Sequential(norm, nn.ZeroPad2d((0, 1, 0, 1)), conv)
    elif isinstance(visual, ResNet):
        first = visual.layer4[0]
        first.conv2.stride = first.downsample[0].stride = (1, 1)
    else:
        block: Any = visual.layer4[0]  # type: ignore[index]
        block.avgpool = nn.Identity()
        block.downsample[0] = nn.Identity()
    return visual.requires_grad_(False).eval()


def backbone_taps(visual: nn.Module, image: Tensor) -> list[Tensor]:
    """The five taps of normalised images (B, 3, H, W). For a CLIP, 16 divides H and W."""
    with torch.no_grad():
        if not isinstance(visual, ResNet):
            return stage_features(visual, image)
        taps = [visual.maxpool(visual.relu(visual.bn1(visual.conv1(image))))]
        for stage in (visual.layer1, visual.layer2, visual.layer3, visual.layer4):
            taps.append(stage(taps[-1]))
        return taps


@torch.inference_mode()
def boundaries(visual: nn.Module, irn: IRN, images: Tensor) -> tuple[Tensor, Tensor]:
    """Boundary probabilities (B, h, w) and displacements (B, 2, h, w) of images, at stride 4.

    `images` (B, 3, H, W) are normalised. As in the release, boundary logits are averaged with those
    of the mirrored image.
    """
    padded = padded_for(visual, images)
    logits, displacement = irn(backbone_taps(visual, torch.cat([padded, padded.flip(3)])))
    plain, mirrored = logits[:, 0].chunk(2)
    edge = ((plain + mirrored.flip(2)) / 2).sigmoid()
    return crop_to_image(edge, images), crop_to_image(displacement[: len(images)], images)


@torch.inference_mode()
def displacements(visual: nn.Module, irn: IRN, images: Tensor) -> Tensor:
    """Only the displacements of `boundaries`, in half the time."""
    return crop_to_image(irn(backbone_taps(visual, padded_for(visual, images)))[1], images)


def padded_for(visual: nn.Module, images: Tensor) -> Tensor:
    """`images` (B, 3, H, W) as `visual` takes them.

    A CLIP pools, which drops the rest of a side, so an image is padded with the mean colour to
    multiples of 16. torchvision's ResNet strides and keeps the rest; the release does not pad.
    """
    if isinstance(visual, ResNet):
        return images
    height, width = images.shape[2:]
    return F.pad(images, (0, -width % STRIDE, 0, -height % STRIDE))


def crop_to_image(x: Tensor, images: Tensor) -> Tensor:
    """Crop the stride-4 maps (..., h', w') of padded images to those of `images` (B, 3, H, W)."""
    return x[..., : -(-images.shape[2] // 4), : -(-images.shape[3] // 4)]
