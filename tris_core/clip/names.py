"""What a CLIP's name means: its configuration, and the file of its weights.

A CLIP is named by

    demo                the one in the package
    a folder            config.json (embed_dim, vision_cfg, text_cfg, quick_gelu) and
                        model.safetensors; if the token embedding was pruned, vocabulary.json with
                        the BPE ids that were kept
    an open_clip name   such as RN50-quickgelu, with `weights`: an open_clip tag such as `openai`,
                        a file (a path or hf://owner/repo/file, see `weights.hub`), or `random`

Nothing is downloaded. A tag means the file that an earlier download left in the cache of
huggingface_hub or of open_clip.
"""

import difflib
import json
from pathlib import Path
from typing import Any

import open_clip
from huggingface_hub import constants, try_to_load_from_cache
from open_clip.constants import HF_CONFIG_NAME, HF_SAFE_WEIGHTS_NAME, HF_WEIGHTS_NAME

from tris_core.runtime.errors import InputError
from tris_core.weights.clip_spec import ClipConfig, validated
from tris_core.weights.hub import local_file

DEMO = Path(__file__).parents[1] / "assets" / "demo_clip"
URL_CACHE = Path("~/.cache/clip")  # open_clip's own, for downloads by url
SUFFIX = "-quickgelu"
RANDOM = "random"
_MODEL_KEYS = {"embed_dim", "vision_cfg", "text_cfg", "quick_gelu"}
_TAKE_A_MODEL = f"take a model such as RN50{SUFFIX}"


def find_config(name: str, weights: str | None) -> tuple[ClipConfig, list[int] | None]:
    """Configuration and pruned vocabulary (None for the whole one) of a named CLIP.

    Raises `InputError` if the name is unknown, or if `weights` are missing or out of place.
    """
    if name in open_clip.list_models():
        if weights is None:
            raise InputError(
                f"{name} needs weights: a tag ({_tags(name)}), a file, or `random`; "
                "set prepare_clip.*_weights beside its name"
            )
        return _open_clip_config(name), None
    folder = DEMO if name == "demo" else Path(name)
    if not folder.is_dir():
        raise InputError(
            f"{name}: neither `demo`, a CLIP folder nor one of open_clip's models{_near(name)}"
        )
    if weights is not None:
        raise InputError(
            f"{name} is a folder, which has weights of its own; set its weights ({weights}) to null"
        )
    return _read_folder(folder)


def find_weights(name: str, weights: str | None) -> Path | None:
    """The file that holds the weights, None for `random`.

    Raises `InputError` that says which file to get and where to put it.
    """
    if weights is None:
        return (DEMO if name == "demo" else Path(name)) / "model.safetensors"
    if weights == RANDOM:
        return None
    if (path := local_file(weights)).is_file():
        return path
    source = open_clip.get_pretrained_cfg(name, weights)
    if not source:
        bare = name.removesuffix(SUFFIX)
        is_of_bare = bare != name and open_clip.get_pretrained_cfg(bare, weights)
        hint = f"; {weights} are weights of {bare}" if is_of_bare else ""
        raise InputError(
            f"{weights}: neither a file nor a tag of {name}{hint}; known tags: {_tags(name)}"
        )
    if source.get("quick_gelu", False) and not _open_clip_config(name).quick_gelu:
        raise InputError(
            f"{name} with {weights}: these weights were trained with QuickGELU; "
            f"name the model {name}{SUFFIX}"
        )
    return _in_caches(name, weights, source)


def _in_caches(name: str, tag: str, source: dict[str, Any]) -> Path:
    """The downloaded file of a tag. Raises `InputError` if there is none."""
    repository, _, file = source.get("hf_hub", "").rpartition("/")
    if file:
        files = [str(Path(file).with_suffix(".safetensors")), file]
    else:
        files = [HF_SAFE_WEIGHTS_NAME, HF_WEIGHTS_NAME]
    places = []
    if repository:
        for file in files:
            cached = try_to_load_from_cache(repository, file)
            if isinstance(cached, str):
                return Path(cached)
        places.append(
            f"{files[0]} (or {files[1]}) of huggingface.co/{repository}: "
            f"`tris fetch hf://{repository}/{files[0]}` puts it in {constants.HF_HUB_CACHE}"
        )
    if url := source.get("url"):
        downloaded = URL_CACHE.expanduser() / url.rsplit("/", 1)[1]
        if downloaded.is_file():
            return downloaded
        places.append(f"{url}, and put it in {downloaded.parent}")
    raise InputError(
        f"{name} with {tag}: the weights are not on this machine and nothing is downloaded "
        f"unasked. Get {'; or '.join(places)}; or give the path of the file instead of {tag}"
    )


def _read_folder(folder: Path) -> tuple[ClipConfig, list[int] | None]:
    """Configuration and vocabulary of a CLIP folder.

    Raises `InputError`; for a folder of another library, it says which and what to do.
    """
    if (folder / HF_CONFIG_NAME).is_file():
        raise InputError(
            f"{folder}: a folder as open_clip saves it ({HF_CONFIG_NAME}), which is not read; "
            f"name the open_clip model, such as RN50{SUFFIX}, "
            f"and give {folder}/open_clip_model.safetensors as its weights"
        )
    for file in ("config.json", "model.safetensors"):
        if not (folder / file).is_file():
            raise InputError(
                f"{folder / file}: not found; a CLIP folder holds config.json and model.safetensors"
            )
    path, kept = folder / "config.json", folder / "vocabulary.json"
    content = _read_json(path)
    if isinstance(content, dict) and ("text_config" in content or "model_type" in content):
        raise InputError(
            f"{folder}: a folder of the transformers library, whose weights have other names; "
            f"name an open_clip model and its tag instead, such as ViT-B-32{SUFFIX} and openai "
            "for openai/clip-vit-base-patch32"
        )
    fix = f"correct it, or name one of open_clip's models, such as RN50{SUFFIX}"
    config = validated(ClipConfig, content, str(path), fix)
    return config, _read_json(kept) if kept.is_file() else None


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not JSON ({error}); copy the folder again") from error


def _near(name: str) -> str:
    """A clause with the names that `name` may have meant."""
    asked = name.removeprefix("hf-hub:").removeprefix("local-dir:")
    if asked != name:
        return (
            f"; {name.split(':')[0]}: is not read here: name the open_clip model itself, such as "
            f"RN50{SUFFIX}, and as its weights a file (a path or hf://owner/repo/file, "
            "which `tris fetch` downloads)"
        )
    known = {model.lower(): model for model in open_clip.list_models()}
    found = difflib.get_close_matches(asked.replace("/", "-").lower(), known, n=3, cutoff=0.7)
    if found:
        return f"; did you mean {' or '.join(known[one] for one in found)}?"
    return f", such as RN50{SUFFIX}"


def _open_clip_config(name: str) -> ClipConfig:
    content = open_clip.get_model_config(name)
    if beyond := sorted(content.keys() - _MODEL_KEYS):
        raise InputError(f"{name}: not a plain CLIP ({', '.join(beyond)}); {_TAKE_A_MODEL}")
    content = {**content, "quick_gelu": content.get("quick_gelu", False)}
    return validated(ClipConfig, content, name, _TAKE_A_MODEL)


def _tags(name: str) -> str:
    return ", ".join(open_clip.list_pretrained_tags_by_model(name)) or "none"
