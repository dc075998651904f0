"""Trained models on disk: a folder with `model.safetensors` (float32) and `config.json`, which rebuilds the model.

`config.json` is sealed (`tris_core.runtime.files`) and holds `clip` (as `describe_clip` gives it), `text` (max_tokens, overflow) and
`size` (side of the input square) of Step-1 and Step-2, `model` (the arguments of the network), `source` where the weights
were not trained here, and `weights_sha256`, the SHA-256 of `model.safetensors`. `tris_core.weights.configs` has the bounds.
"""

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from safetensors.torch import save
from torch import Tensor, nn

from tris_core.runtime.errors import InputError
from tris_core.runtime.files import read_sealed_json, replacing, sha256_of_file, write_sealed_json
from tris_core.weights.archives import read_checkpoint
from tris_core.weights.configs import network_of
from tris_core.weights.fitting import Build, fitted, skeleton

CONFIG, WEIGHTS = "config.json", "model.safetensors"
Model = TypeVar("Model", bound=nn.Module)


def save_model(folder: Path, state: dict[str, Tensor], config: dict[str, Any]) -> None:
    """Write the folder from a model's state dict, whole or not at all. The same weights give the same bytes."""
    with replacing(folder) as temporary:
        temporary.mkdir()
        weights = save({key: value.detach().cpu().contiguous() for key, value in state.items()})
        (temporary / WEIGHTS).write_bytes(weights)  # `save_file` would let nobody else read it
        write_sealed_json(
            temporary / CONFIG, {**config, "weights_sha256": hashlib.sha256(weights).hexdigest()}
        )


def save_marker(folder: Path, why: str) -> None:
    """Write a folder that stands in for a model nobody needs; `read_config` refuses it and says `why`."""
    with replacing(folder) as temporary:
        temporary.mkdir()
        write_sealed_json(temporary / CONFIG, {"skipped": why})


def read_config(folder: Path) -> dict[str, Any]:
    """`config.json` of a model folder, checked. Raises `InputError` if there is none, or a marker in the model's place."""
    path = folder / CONFIG
    if not path.is_file():
        raise InputError(
            f"{path}: not found; {folder} is to be a model folder ({CONFIG} and {WEIGHTS}): name the one that "
            "`dvc repro` or `tris import-weights` wrote"
        )
    fix = "copy the folder again, train the model again (`dvc repro`) or import it again (`tris import-weights`)"
    content = read_sealed_json(path, fix)
    if "skipped" in content:
        raise InputError(
            f"{folder}: holds no model ({content['skipped']}); undo that and run `dvc repro`"
        )
    network_of(content, path)
    return content


def open_folder(
    folder: Path, builders: Mapping[str, Build]
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """State dict (float32) and `config.json` of a model folder, each checked by itself and against the other.

    `builders` are by network, as `network_of` names them. Raises `InputError` if the folder is of none of these, if a file of
    it is missing or damaged, or if a tensor does not fit.
    """
    config, path = read_config(folder), folder / WEIGHTS
    network = network_of(config, folder / CONFIG)
    if network not in builders:
        raise InputError(f"{folder}: holds {network}, not {' or '.join(builders)}")
    if not path.is_file():
        raise InputError(f"{path}: not found; a model folder holds {CONFIG} and {WEIGHTS}")
    if sha256_of_file(path) != config.get("weights_sha256"):
        raise InputError(
            f"{path}: damaged or of another model (its SHA-256 is not that of {CONFIG}); copy the folder again"
        )
    return fitted(
        read_checkpoint(path), skeleton(builders[network], config, folder / CONFIG), path
    ), config


def load_model(
    folder: Path, network: str, build: Callable[[dict[str, Any]], Model]
) -> tuple[Model, dict[str, Any]]:
    """The trained network of a folder, and its `config.json`. Raises `InputError` as `open_folder` does."""
    state, config = open_folder(folder, {network: build})
    model = build(config)
    model.load_state_dict(state)
    return model, config
