"""Trained models on disk: a folder with `model.safetensors` (float32) and `config.json`, which rebuilds the model.

`config.json` of Step-1 and Step-2: `clip` (as `describe_clip` gives it), `text` (max_tokens, overflow), `size` (side of the
input square), `model` (the arguments of the network), and `source` where the weights were not trained here.
"""

import json
from pathlib import Path
from typing import Any

from safetensors.torch import save
from torch import Tensor, nn

from tris_core.errors import InputError
from tris_core.files import replacing
from tris_core.models.archives import read_checkpoint


def save_model(folder: Path, state: dict[str, Tensor], config: dict[str, Any]) -> None:
    """Write the folder from a model's state dict, whole or not at all. The same weights give the same bytes."""
    with replacing(folder) as temporary:
        temporary.mkdir()
        tensors = {key: value.detach().cpu().contiguous() for key, value in state.items()}
        (temporary / "model.safetensors").write_bytes(save(tensors))  # `save_file` would let nobody else read it
        (temporary / "config.json").write_text(json.dumps(config, indent=1) + "\n")


def save_marker(folder: Path, why: str) -> None:
    """Write a folder that stands in for a model nobody needs; `read_config` refuses it and says `why`."""
    with replacing(folder) as temporary:
        temporary.mkdir()
        (temporary / "config.json").write_text(json.dumps({"skipped": why}) + "\n")


def read_config(folder: Path) -> dict[str, Any]:
    """`config.json` of a model folder. Raises `InputError` if there is none, or a marker in the model's place."""
    path = folder / "config.json"
    if not path.is_file():
        raise InputError(f"{path}: not found; train the model first (`dvc repro`)")
    try:
        content: dict[str, Any] = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not JSON ({error}); train the model again, or copy its folder again") from error
    if not isinstance(content, dict):
        raise InputError(f"{path}: holds a {type(content).__name__}, expected what training writes; copy the folder again")
    if "skipped" in content:
        raise InputError(f"{folder}: holds no model ({content['skipped']}); undo that and run `dvc repro`")
    return content


def load_weights(model: nn.Module, folder: Path) -> None:
    """Fill a model from its folder, every key accounted for. Raises `InputError` naming keys that differ."""
    path = folder / "model.safetensors"
    missing, unexpected = model.load_state_dict(read_checkpoint(path), strict=False)
    if missing or unexpected:
        raise InputError(f"{path}: does not fit config.json; missing {missing[:3]}, unexpected {unexpected[:3]}")
