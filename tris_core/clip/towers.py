"""CLIP as the method uses it: stage features of the image tower, word and sentence features of the text tower.

Importing open_clip costs seconds and nearly a gigabyte. Where weights come from is `clip_sources`' matter.

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
from tris_core.weights.configs import ClipConfig, check


def build_clip(config: dict[str, Any]) -> CLIP:
    """A CLIP with random weights from its configuration: embed_dim, vision_cfg, text_cfg, quick_gelu.

    A configuration may come with somebody's weights. Raises `InputError` for one that `ClipConfig` refuses.
    """
    check(ClipConfig, config, "CLIP configuration", "run `dvc repro -f prepare_clip`")
    vision = {**config["vision_cfg"], "timm_model_pretrained": False}  # or timm would download
    return CLIP(
        embed_dim=config["embed_dim"],
        vision_cfg=CLIPVisionCfg(**vision),
        text_cfg=CLIPTextCfg(**config["text_cfg"]),
        quick_gelu=config["quick_gelu"],
    )


def stage_channels(config: dict[str, Any]) -> tuple[int, ...]:
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
    stem = visual.conv3.out_channels
    return stem, *(
        stage[-1].conv3.out_channels
        for stage in (visual.layer1, visual.layer2, visual.layer3, visual.layer4)
    )


def pyramid_channels(clip: dict[str, Any]) -> tuple[int, int, int, int, int]:
    """`stage_channels` of a described CLIP whose maps have several scales. Raises `InputError` if it has only one."""
    channels = stage_channels(clip["config"])
    if len(channels) != 5:
        raise InputError(
            f"prepare_clip.backbone = {clip['name']!r}: Step-2 and the boundary network need multi-scale features (strides 4 "
            "to 32), and a ViT has one scale only; take a ResNet or a ConvNeXt such as RN50-quickgelu, or leave it at Step-1"
        )
    return channels


def at_image_size(clip: dict[str, Any], size: int) -> dict[str, Any]:
    """The described CLIP as a backbone for square images of `size` pixels.

    A ViT holds one positional embedding per patch, so its grid is part of the network: `load_clip` then interpolates the
    embeddings. Convolutional towers take any size and stay as they are, the size of their pooling head included.
    """
    config = clip["config"]
    vision = CLIPVisionCfg(**config["vision_cfg"])
    if vision.timm_model_name or not isinstance(vision.layers, int):
        return clip
    if size % vision.patch_size:
        raise InputError(
            f"pack_images.size = {size}: not a multiple of {vision.patch_size}, the patch of {clip['name']}"
        )
    return {
        **clip,
        "config": {**config, "vision_cfg": {**config["vision_cfg"], "image_size": size}},
    }


def _trunk(visual: TimmModel) -> ConvNeXt:
    if not isinstance(visual.trunk, ConvNeXt):
        name = type(visual.trunk).__name__
        raise InputError(
            f"prepare_clip.backbone: no maps are taken from a {name} tower; take a ResNet, a ConvNeXt or a ViT"
        )
    return visual.trunk


def encode_words(clip: CLIP, tokens: Tensor) -> Tensor:
    """Word features (B, T, C) after the final layer norm, un-projected; T may be shorter than CLIP's own context."""
    length = tokens.shape[1]
    embedded = clip.token_embedding(tokens) + clip.positional_embedding[:length]
    mask = None if clip.attn_mask is None else clip.attn_mask[:length, :length]
    return clip.ln_final(clip.transformer(embedded, attn_mask=mask))


def sentence_feature(clip: CLIP, words: Tensor, tokens: Tensor) -> Tensor:
    """Sentence feature (B, E): the word feature at the highest token id (the end token), projected; not normalised."""
    at_end = words[torch.arange(len(words), device=words.device), tokens.argmax(dim=1)]
    return at_end @ clip.text_projection


def stage_features(visual: nn.Module, image: Tensor) -> list[Tensor]:
    """Maps (B, C, H, W) after the stem and the four stages, strides 4, 4, 8, 16, 32. The attention pool is not computed.

    A ViT has one map, of the last block's patch tokens after the final layer norm, at the stride of its patches.
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
    return visual.forward_intermediates(image, intermediates_only=True)["image_intermediates"]  # type: ignore[operator]
