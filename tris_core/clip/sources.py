"""From a CLIP's name to its weights: describe it, check that name and weights fit, and load it."""

from pathlib import Path
from typing import Any, Literal

import torch
from open_clip.constants import OPENAI_DATASET_MEAN, OPENAI_DATASET_STD
from open_clip.model import CLIP, resize_pos_embed
from torch import Tensor

from tris_core.clip.imagenet import describe_imagenet, imagenet_tower
from tris_core.clip.names import SUFFIX, find_config, find_weights
from tris_core.clip.towers import build_clip
from tris_core.runtime.errors import InputError
from tris_core.runtime.files import sha256_of_file
from tris_core.weights.archives import is_torchscript, read_checkpoint
from tris_core.weights.clip_spec import ClipConfig, ClipSpec, validated
from tris_core.weights.fitting import as_float32, fitted, no_such_network, skeleton

_SIZES = ("input_resolution", "context_length", "vocab_size")  # beside OpenAI's weights


def describe_clip(
    name: str,
    weights: str | None,
    *,
    imagenet: str | None = None,
    normalise: Literal["imagenet", "clip"] = "imagenet",
) -> ClipSpec:
    """Describe a CLIP, and check that its weights fit its configuration.

    Args:
        name: see `tris_core.clip.names`.
        weights: a tag, a file or `random`; None for `demo` and for a folder.
        imagenet: where the stages of the image tower come from (`describe_imagenet`), or None.
        normalise: whose mean and deviation its pictures are normalised with; `clip` for those it
            was trained with, which are OpenAI's if its configuration gives none.

    Raises:
        InputError: the name is unknown, or a file is missing or does not fit.
    """
    config, vocabulary = find_config(name, weights)
    path = find_weights(name, weights)
    content: dict[str, Any] = {
        "name": name,
        "weights": weights,
        "sha256": None if path is None else sha256_of_file(path),
        "imagenet": None,
        "config": config,
        "vocabulary": vocabulary,
    }
    if imagenet is not None:
        content["imagenet"] = describe_imagenet(imagenet).content()
    if normalise == "clip":
        mean, std = config.mean or OPENAI_DATASET_MEAN, config.std or OPENAI_DATASET_STD
        content["normalise"] = {"mean": list(mean), "std": list(std)}
    spec = validated(ClipSpec, content, name, "take another CLIP, or correct its files")
    if path is not None or imagenet is not None:
        load_clip(spec)
    return spec


def load_clip(spec: ClipSpec) -> CLIP:
    """The described CLIP in float32. Raises `InputError` if one of its files has changed.

    `random` weights and the stem of an ImageNet tower are drawn from seed 0.
    """
    path = find_weights(spec.name, spec.weights)
    if path is None:
        clip = _random_clip(spec.config)
    elif path.is_file() and sha256_of_file(path) == spec.sha256:
        state = _clip_tensors(path, spec.name, quick_gelu=spec.config.quick_gelu)
        clip = _filled(spec.config, state, path)
    else:
        raise InputError(
            f"{path}: missing or not the file that prepare_clip saw; "
            "run `dvc repro -f prepare_clip`"
        )
    if spec.imagenet is not None:
        tower = imagenet_tower(_random_clip(spec.config), spec.imagenet)
        clip.visual.load_state_dict(tower)
    return clip


def _random_clip(config: ClipConfig) -> CLIP:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return build_clip(config)


def _clip_tensors(path: Path, name: str, *, quick_gelu: bool) -> dict[str, Tensor]:
    """The state dict in a file of CLIP weights, by `open_clip.CLIP`'s names.

    Refuses OpenAI's file for a CLIP without QuickGELU.
    """
    state = read_checkpoint(path)
    state = state.get("state_dict", state)
    if not isinstance(state, dict):
        raise InputError(f"{path}: holds no dict of tensors; expected the weights of a CLIP")
    for key, value in state.items():
        if not isinstance(value, Tensor):
            raise InputError(
                f"{path}: holds {key}, which is no tensor; expected the weights of a CLIP"
            )
    state = {str(key).removeprefix("module."): value for key, value in state.items()}
    if not is_torchscript(path) and not any(key in state for key in _SIZES):
        return state
    if not quick_gelu:
        raise InputError(
            f"{path}: OpenAI's weights were trained with QuickGELU; name the model {name}{SUFFIX}"
        )
    return {key: value for key, value in state.items() if not _is_constant(key)}


def _is_constant(key: str) -> bool:
    """Whether an entry of OpenAI's archive is a size or the causal mask, which networks make."""
    return key in _SIZES or key.rsplit(".", 1)[-1] == "attn_mask"


def _filled(config: ClipConfig, state: dict[str, Tensor], path: Path) -> CLIP:
    """The CLIP with these weights, every key accounted for.

    Tensors may be of any float type. A ViT's positional embeddings are resized.
    """
    state = as_float32(state)
    if "logit_scale" in state and state["logit_scale"].numel() == 1:
        state["logit_scale"] = state["logit_scale"].reshape(())  # some files hold it as (1,)
    network = skeleton(build_clip, config, path)
    with no_such_network(path):
        resize_pos_embed(state, network)
    state = fitted(state, network, path)
    clip = build_clip(config)
    clip.load_state_dict(state)
    return clip
