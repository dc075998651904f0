"""Trained models on disk: folders with `model.safetensors` (float32) and `config.json`.

`config.json` is a `ModelConfig` (`tris_core.weights.configs`), from which the network is rebuilt.
It is sealed (`tris_core.runtime.files`).
"""

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from safetensors.torch import save
from torch import Tensor, nn

from tris_core.runtime.errors import InputError
from tris_core.runtime.files import read_sealed_json, replacing, sha256_of_file, write_sealed_json
from tris_core.weights.archives import read_checkpoint
from tris_core.weights.configs import ModelConfig, model_config
from tris_core.weights.fitting import Build, fitted, skeleton

CONFIG, WEIGHTS = "config.json", "model.safetensors"
Config = TypeVar("Config", bound=ModelConfig)
Model = TypeVar("Model", bound=nn.Module)


def save_model(folder: Path, state: dict[str, Tensor], config: ModelConfig) -> None:
    """Write a model folder, whole or not at all. The same weights give the same bytes."""
    with replacing(folder) as temporary:
        temporary.mkdir()
        weights = save({key: value.detach().cpu().contiguous() for key, value in state.items()})
        (temporary / WEIGHTS).write_bytes(weights)  # `save_file` makes it unreadable for others
        digest = hashlib.sha256(weights).hexdigest()
        write_sealed_json(temporary / CONFIG, {**config.content(), "weights_sha256": digest})


def save_marker(folder: Path, why: str) -> None:
    """Write a folder that marks a model as not needed; `read_config` refuses it and says `why`."""
    with replacing(folder) as temporary:
        temporary.mkdir()
        write_sealed_json(temporary / CONFIG, {"skipped": why})


def read_config(folder: Path) -> ModelConfig:
    """Read and check `config.json` of a model folder.

    Raises `InputError` if there is none, if it is wrong, or if the folder is only a marker.
    """
    path = folder / CONFIG
    if not path.is_file():
        raise InputError(
            f"{path}: not found; {folder} must be a model folder ({CONFIG} and {WEIGHTS}): "
            "name one that `dvc repro` or `tris import-weights` wrote"
        )
    fix = (
        "copy the folder again, train the model again (`dvc repro`) "
        "or import it again (`tris import-weights`)"
    )
    content = read_sealed_json(path, fix)
    if "skipped" in content:
        raise InputError(
            f"{folder}: holds no model ({content['skipped']}); undo that and run `dvc repro`"
        )
    return model_config(content, path)


def open_folder(
    folder: Path, builders: Mapping[str, Build]
) -> tuple[dict[str, Tensor], ModelConfig]:
    """Read a model folder, and check that its two files fit each other.

    Args:
        folder: a folder that `save_model` wrote.
        builders: the networks that it may be of, by `ModelConfig.network`.

    Returns:
        State dict (float32) and configuration.

    Raises:
        InputError: the folder is of another network, a file is missing or damaged, or a tensor
            does not fit.
    """
    config, path = read_config(folder), folder / WEIGHTS
    if config.network not in builders:
        raise InputError(f"{folder}: holds {config.network}, not {' or '.join(builders)}")
    if not path.is_file():
        raise InputError(f"{path}: not found; a model folder holds {CONFIG} and {WEIGHTS}")
    if sha256_of_file(path) != config.weights_sha256:
        raise InputError(
            f"{path}: damaged or of another model (its SHA-256 is not that of {CONFIG}); "
            "copy the folder again"
        )
    network = skeleton(builders[config.network], config, folder / CONFIG)
    return fitted(read_checkpoint(path), network, path), config


def load_model(
    folder: Path, kind: type[Config], build: Callable[[Config], Model]
) -> tuple[Model, Config]:
    """The trained network of a folder, and its configuration.

    Raises `InputError` as `open_folder` does.
    """
    state, config = open_folder(folder, {kind.network: build})
    assert isinstance(config, kind)  # open_folder refuses other networks
    model = build(config)
    model.load_state_dict(state)
    return model, config
