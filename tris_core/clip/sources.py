"""Where the two CLIPs come from: which configuration a name means, which file holds its weights, and whether both fit.

A CLIP is named by

    demo                the one the package carries
    a folder            config.json (embed_dim, vision_cfg, text_cfg, quick_gelu), model.safetensors and, where the token
                        embedding was pruned, vocabulary.json: the BPE ids that were kept
    an open_clip name   such as RN50-quickgelu, with `weights`: an open_clip tag such as `openai`, a file (a path or
                        hf://owner/repo/file, see `locations`), or `random`

Nothing is downloaded. A tag means the file that an earlier download left in the cache of huggingface_hub or of open_clip.
"""

import difflib
import json
import re
from pathlib import Path
from typing import Any

import open_clip
import torch
from huggingface_hub import constants, try_to_load_from_cache
from open_clip.constants import HF_CONFIG_NAME, HF_SAFE_WEIGHTS_NAME, HF_WEIGHTS_NAME
from open_clip.model import CLIP, resize_pos_embed
from open_clip.modified_resnet import ModifiedResNet
from torch import Tensor

from tris_core.clip.towers import build_clip
from tris_core.runtime.errors import InputError
from tris_core.runtime.files import sha256_of_file
from tris_core.weights.archives import is_torchscript, read_checkpoint
from tris_core.weights.configs import ClipConfig, ClipDescription, check
from tris_core.weights.fitting import fitted, no_such_network, skeleton
from tris_core.weights.hub import local_file

DEMO = Path(__file__).parents[1] / "assets" / "demo_clip"
URL_CACHE = Path("~/.cache/clip")  # where open_clip keeps what it downloads by url
SUFFIX = "-quickgelu"
RANDOM = "random"
_MODEL_KEYS = {"embed_dim", "vision_cfg", "text_cfg", "quick_gelu"}
_OPENAI_KEYS = (
    "input_resolution",
    "context_length",
    "vocab_size",
)  # sizes, stored beside the weights of OpenAI's archives
_RESNET_STAGE = re.compile(r"layer[1-4]\.\d+\.(conv[123]|bn[123]|downsample\.[01])\.")


def describe_clip(name: str, weights: str | None, *, imagenet: str | None = None) -> dict[str, Any]:
    """What identifies a CLIP: name, weights, SHA-256 of their file (None for `random`), configuration, vocabulary (None if
    whole), and the ImageNet file (name, SHA-256) that replaces the weights of the image tower's stages, None if none does.

    Raises `InputError` if the name is unknown, the file is not there or does not fit the configuration.
    """
    if name in open_clip.list_models():
        config, vocabulary = _open_clip_config(name), None
        if weights is None:
            raise InputError(
                f"{name} needs weights: a tag ({_tags(name)}), a file, or `random`; set prepare_clip.*_weights beside its name"
            )
    else:
        folder = DEMO if name == "demo" else Path(name)
        if not folder.is_dir():
            raise InputError(
                f"{name}: neither `demo`, a CLIP folder nor one of open_clip's models{_near(name)}"
            )
        if weights is not None:
            raise InputError(
                f"{name} is a folder, which has weights of its own; set its weights ({weights}) to null"
            )
        config, vocabulary = _read_folder(folder)
    path = find_weights(name, weights)
    description = {
        "name": name,
        "weights": weights,
        "sha256": None if path is None else sha256_of_file(path),
        "imagenet": None
        if imagenet is None
        else {"file": imagenet, "sha256": _hash(local_file(imagenet))},
        "config": config,
        "vocabulary": vocabulary,
    }
    check(ClipDescription, description, name, "take another CLIP, or correct its files")
    if path is not None or imagenet is not None:
        load_clip(description)
    return description


def load_clip(description: dict[str, Any]) -> CLIP:
    """The CLIP that `describe_clip` described, in float32. Raises `InputError` if a file of it is another one now.

    `random` and the stem of an ImageNet tower are drawn from seed 0.
    """
    name, path = description["name"], find_weights(description["name"], description["weights"])
    if path is not None and (not path.is_file() or sha256_of_file(path) != description["sha256"]):
        raise InputError(
            f"{path}: missing or not the file that prepare_clip saw; run `dvc repro -f prepare_clip`"
        )
    if path is None:
        clip = _random_clip(description["config"])
    else:
        clip = _filled(
            description["config"],
            _clip_tensors(path, name, quick_gelu=description["config"]["quick_gelu"]),
            path,
        )
    if description["imagenet"] is not None:
        file = local_file(description["imagenet"]["file"])
        if _hash(file) != description["imagenet"]["sha256"]:
            raise InputError(
                f"{file}: not the file that prepare_clip saw; run `dvc repro -f prepare_clip`"
            )
        clip.visual.load_state_dict(imagenet_tower(_random_clip(description["config"]), file))
    return clip


def find_weights(name: str, weights: str | None) -> Path | None:
    """The file that holds the weights, None for `random`. Raises `InputError`: which file to get, and where to put it."""
    if weights is None:
        return (DEMO if name == "demo" else Path(name)) / "model.safetensors"
    if weights == RANDOM:
        return None
    if (path := local_file(weights)).is_file():
        return path
    source = open_clip.get_pretrained_cfg(name, weights)
    if not source:
        bare = name.removesuffix(SUFFIX)
        hint = (
            f"; {weights} are weights of {bare}"
            if bare != name and open_clip.get_pretrained_cfg(bare, weights)
            else ""
        )
        raise InputError(
            f"{weights}: neither a file nor a tag of {name}{hint}; known tags: {_tags(name)}"
        )
    if source.get("quick_gelu", False) and not _open_clip_config(name)["quick_gelu"]:
        raise InputError(
            f"{name} with {weights}: these weights were trained with QuickGELU; name the model {name}{SUFFIX}"
        )
    return _in_caches(name, weights, source)


def _in_caches(name: str, tag: str, source: dict[str, Any]) -> Path:
    """The downloaded file of a tag. Raises `InputError` if there is none."""
    repository, _, file = source.get("hf_hub", "").rpartition("/")
    files = (
        [str(Path(file).with_suffix(".safetensors")), file]
        if file
        else [HF_SAFE_WEIGHTS_NAME, HF_WEIGHTS_NAME]
    )
    places = []
    if repository:
        for file in files:
            cached = try_to_load_from_cache(repository, file)
            if isinstance(cached, str):
                return Path(cached)
        places.append(
            f"{files[0]} (or {files[1]}) of huggingface.co/{repository}: `tris fetch hf://{repository}/{files[0]}` puts it in "
            f"{constants.HF_HUB_CACHE}, where it is looked for"
        )
    if url := source.get("url"):
        downloaded = URL_CACHE.expanduser() / url.rsplit("/", 1)[1]
        if downloaded.is_file():
            return downloaded
        places.append(f"{url}, to be put in {downloaded.parent}")
    raise InputError(
        f"{name} with {tag}: the weights are not on this machine and nothing is downloaded unasked. Get "
        f"{'; or '.join(places)}; or give the path of the file in place of {tag}"
    )


def _read_folder(folder: Path) -> tuple[dict[str, Any], list[int] | None]:
    """Configuration and vocabulary of a CLIP folder. Raises `InputError`: what the folder is, where it is another kind."""
    if (folder / HF_CONFIG_NAME).is_file():
        raise InputError(
            f"{folder}: a folder as open_clip saves it ({HF_CONFIG_NAME}), which is not read; name the open_clip model that it "
            f"is of, such as RN50{SUFFIX}, and give {folder}/open_clip_model.safetensors as its weights"
        )
    for file in ("config.json", "model.safetensors"):
        if not (folder / file).is_file():
            raise InputError(
                f"{folder / file}: not found; a CLIP folder holds config.json and model.safetensors"
            )
    path, kept = folder / "config.json", folder / "vocabulary.json"
    config = _read_json(path)
    if isinstance(config, dict) and ("text_config" in config or "model_type" in config):
        raise InputError(
            f"{folder}: a folder of the transformers library, whose weights have other names; name an open_clip model with an "
            f"open_clip tag of the same weights instead, such as ViT-B-32{SUFFIX} and openai for openai/clip-vit-base-patch32"
        )
    check(
        ClipConfig,
        config,
        str(path),
        f"correct it, or name one of open_clip's models, such as RN50{SUFFIX}",
    )
    return config, _read_json(kept) if kept.is_file() else None


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not JSON ({error}); copy the folder again") from error


def _near(name: str) -> str:
    """What somebody who wrote `name` may have meant, as a clause."""
    asked = name.removeprefix("hf-hub:").removeprefix("local-dir:")
    if asked != name:
        return (
            f"; {name.split(':')[0]}: is not read here: name the open_clip model itself, such as RN50{SUFFIX}, and as its "
            "weights a file (a path or hf://owner/repo/file, which `tris fetch` downloads)"
        )
    known = {model.lower(): model for model in open_clip.list_models()}
    found = difflib.get_close_matches(asked.replace("/", "-").lower(), known, n=3, cutoff=0.7)
    return (
        f"; did you mean {' or '.join(known[one] for one in found)}?"
        if found
        else f", such as RN50{SUFFIX}"
    )


def _open_clip_config(name: str) -> dict[str, Any]:
    config = open_clip.get_model_config(name)
    if beyond := sorted(config.keys() - _MODEL_KEYS):
        raise InputError(
            f"{name}: not a plain CLIP ({', '.join(beyond)}); take a model such as RN50{SUFFIX}"
        )
    config = {**config, "quick_gelu": config.get("quick_gelu", False)}
    check(ClipConfig, config, name, f"take a model such as RN50{SUFFIX}")
    return config


def _tags(name: str) -> str:
    return ", ".join(open_clip.list_pretrained_tags_by_model(name)) or "none"


def _hash(path: Path) -> str:
    if not path.is_file():
        raise InputError(f"{path}: no such file; download it or correct the path")
    return sha256_of_file(path)


def _random_clip(config: dict[str, Any]) -> CLIP:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return build_clip(config)


def _clip_tensors(path: Path, name: str, *, quick_gelu: bool) -> dict[str, Tensor]:
    """The state dict in a file of CLIP weights, by `open_clip.CLIP`'s names. Refuses OpenAI's file without QuickGELU."""
    state = read_checkpoint(path)
    state = state.get("state_dict", state)
    if not isinstance(state, dict) or (
        foreign := [key for key, value in state.items() if not isinstance(value, Tensor)]
    ):
        what = (
            f"{foreign[0]}, which is no tensor" if isinstance(state, dict) else "no dict of tensors"
        )
        raise InputError(f"{path}: holds {what}; expected the weights of a CLIP")
    state = {str(key).removeprefix("module."): value for key, value in state.items()}
    if is_torchscript(path) or any(key in state for key in _OPENAI_KEYS):
        if not quick_gelu:
            raise InputError(
                f"{path}: OpenAI's weights were trained with QuickGELU; name the model {name}{SUFFIX}"
            )
        causal_mask = {
            key for key in state if key.rsplit(".", 1)[-1] == "attn_mask"
        }  # a constant that the network makes itself
        state = {
            key: value
            for key, value in state.items()
            if key not in _OPENAI_KEYS and key not in causal_mask
        }
    return state


def _filled(config: dict[str, Any], state: dict[str, Tensor], path: Path) -> CLIP:
    """The CLIP with tensors of any float type, every key accounted for; a ViT's positional embeddings are resized."""
    state = {
        key: value.float() if value.is_floating_point() else value for key, value in state.items()
    }
    if "logit_scale" in state and state["logit_scale"].numel() == 1:
        state["logit_scale"] = state["logit_scale"].reshape(())  # some files hold it as (1,)
    shape = skeleton(build_clip, config, path)
    with no_such_network(path):
        resize_pos_embed(state, shape)
    state = fitted(state, shape, path)
    clip = build_clip(config)
    clip.load_state_dict(state)
    return clip


def imagenet_tower(clip: CLIP, path: Path) -> dict[str, Tensor]:
    """The image tower's state dict with the stages of an ImageNet ResNet in torchvision's layout (Table 2, "Ours*").

    Convolutions and batch norms of layer1 to layer4 are taken over. CLIP's stem is three convolutions where torchvision has
    one, so the stem keeps the random weights of `clip`, as do the attention pool (which no map passes) and, in files older
    than the counters, `num_batches_tracked`. Strides also differ without leaving a trace in the weights: CLIP pools where
    torchvision's convolutions stride. The file's conv1, bn1 and fc are not used; any other key is refused.
    """
    tower: dict[str, Tensor] = clip.visual.state_dict()
    if not isinstance(clip.visual, ModifiedResNet):
        raise InputError(
            f"prepare_clip.visual_init: imagenet needs a ResNet tower such as RN50{SUFFIX}"
        )
    state = read_checkpoint(path)
    stages = {key: value for key, value in state.items() if _RESNET_STAGE.match(key)}
    wanted = {key for key in tower if _RESNET_STAGE.match(key)}
    missing = sorted(
        key for key in wanted - stages.keys() if not key.endswith("num_batches_tracked")
    )
    unexpected = sorted(
        (stages.keys() - wanted)
        | {k for k in state.keys() - stages.keys() if k.split(".")[0] not in ("conv1", "bn1", "fc")}
    )
    other = sorted(key for key in wanted & stages.keys() if stages[key].shape != tower[key].shape)
    if missing or unexpected or other:
        raise InputError(
            f"{path}: not torchvision's ResNet of this tower's depth and width; missing {missing[:3]}, unexpected "
            f"{unexpected[:3]}, of another shape {other[:3]}"
        )
    return {
        **tower,
        **{
            key: value.float() if value.is_floating_point() else value
            for key, value in stages.items()
        },
    }
