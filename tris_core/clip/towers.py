"""CLIP as the method uses it: features of the image tower's stages, of words and of sentences.

Importing open_clip costs seconds and nearly a gigabyte. `clip.sources` finds the weights.

Shapes: B images or sentences, T tokens, C channels, H W the map of a stage, E the joint embedding.
"""

from typing import Any

import torch
from open_clip.model import CLIP, CLIPTextCfg, CLIPVisionCfg
from open_clip.timm_model import TimmModel
from open_clip.transformer import VisionTransformer
from timm.models import ConvNeXt
from torch import Tensor, nn

from tris_core.runtime.errors import InputError
from tris_core.weights.clip_spec import ClipConfig, ClipSpec, VisionConfig, validated


def build_clip(config: ClipConfig) -> CLIP:
    """A CLIP with random weights."""
    vision = {**config.vision_cfg.content(), "timm_model_pretrained": False}  # or timm downloads
    return CLIP(
        embed_dim=config.embed_dim,
        vision_cfg=CLIPVisionCfg(**vision),
        text_cfg=CLIPTextCfg(**config.text_cfg.content()),
        quick_gelu=config.quick_gelu,
    )


def build_backbone(config: ClipConfig) -> CLIP:
    """A CLIP with random weights for a network that takes its maps and words alone.

    A ResNet's pooling is left out: half of the demo CLIP's weights, a seventh of RN50's.
    """
    clip = build_clip(config)
    if hasattr(clip.visual, "attnpool"):
        clip.visual.attnpool = nn.Identity()
    return clip


def start_from(backbone: CLIP, clip: CLIP) -> None:
    """Copy to a backbone the weights that it has of a CLIP."""
    weights = clip.state_dict()
    backbone.load_state_dict({name: weights[name] for name in backbone.state_dict()})


def stage_channels(config: ClipConfig) -> tuple[int, ...]:
    """Channels of the maps that `stage_features` gives for a CLIP of this configuration.

    Five for a ResNet or a ConvNeXt, one for a ViT. Raises `InputError` for towers without a map.
    """
    with torch.device("meta"):
        visual = build_clip(config).visual
    if isinstance(visual, VisionTransformer):
        return (visual.conv1.out_channels,)
    if isinstance(visual, TimmModel):
        channels: list[Any] = [level["num_chs"] for level in _trunk(visual).feature_info]
        return channels[0], *channels
    stages = (visual.layer1, visual.layer2, visual.layer3, visual.layer4)
    return visual.conv3.out_channels, *(stage[-1].conv3.out_channels for stage in stages)


def pyramid_channels(clip: ClipSpec) -> tuple[int, int, int, int, int]:
    """`stage_channels` of a CLIP with maps at several scales.

    Raises `InputError` for a ViT, which has only one.
    """
    channels = stage_channels(clip.config)
    if len(channels) != 5:
        raise InputError(
            f"prepare_clip.backbone = {clip.name!r}: Step-2 and the boundary network need "
            "multi-scale features (strides 4 to 32), and a ViT has one scale only; take a ResNet "
            "or a ConvNeXt such as RN50-quickgelu, or stop after Step-1"
        )
    return channels


def at_image_size(clip: ClipSpec, size: int) -> ClipSpec:
    """The CLIP as a backbone for square images of `size` pixels.

    A ViT has one positional embedding per patch, so its grid is part of the network, and
    `load_clip` interpolates the embeddings. Convolutional towers take any size and are returned
    unchanged.
    """
    vision = clip.config.vision_cfg
    if not vision.is_vit:
        return clip
    if vision.patch_size and size % vision.patch_size:
        raise InputError(
            f"pack_images.side = {size}: not a multiple of {vision.patch_size}, "
            f"the patch of {clip.name}"
        )
    resized = validated(
        VisionConfig,
        {**vision.content(), "image_size": size},
        clip.name,
        "set pack_images.side to a smaller one",
    )
    config = clip.config.model_copy(update={"vision_cfg": resized})
    return clip.model_copy(update={"config": config})


def _trunk(visual: TimmModel) -> ConvNeXt:
    if not isinstance(visual.trunk, ConvNeXt):
        name = type(visual.trunk).__name__
        raise InputError(
            f"prepare_clip.backbone: no maps are taken from a {name} tower; "
            "take a ResNet, a ConvNeXt or a ViT"
        )
    return visual.trunk


def encode_words(clip: CLIP, tokens: Tensor) -> Tensor:
    """Word features (B, T, C) after the final layer norm, before the projection.

    T may be shorter than CLIP's own context.
    """
    length = tokens.shape[1]
    embedded = clip.token_embedding(tokens) + clip.positional_embedding[:length]
    mask = None if clip.attn_mask is None else clip.attn_mask[:length, :length]
    return clip.ln_final(clip.transformer(embedded, attn_mask=mask))


def sentence_feature(clip: CLIP, words: Tensor, tokens: Tensor) -> Tensor:
    """Sentence feature (B, E), not normalised: the projected word feature of the end token.

    The end token has the highest id.
    """
    at_end = words[torch.arange(len(words), device=words.device), tokens.argmax(dim=1)]
    return at_end @ clip.text_projection


def stage_features(visual: nn.Module, image: Tensor) -> list[Tensor]:
    """Maps (B, C, H, W) after the stem and the four stages, at strides 4, 4, 8, 16 and 32.

    The attention pool is not computed. A ViT has one map: the last block's patch tokens after the
    final layer norm, at the stride of its patches.
    """
    if isinstance(visual, VisionTransformer):
        maps = visual.forward_intermediates(
            image, indices=1, normalize_intermediates=True, intermediates_only=True
        )
        return maps["image_intermediates"]
    if isinstance(visual, TimmModel):
        trunk = _trunk(visual)
        features = [trunk.stem(image)]
        for stage in trunk.stages:
            features.append(stage(features[-1]))
        return features
    maps = visual.forward_intermediates(image, intermediates_only=True)  # type: ignore[operator]
    return maps["image_intermediates"]
