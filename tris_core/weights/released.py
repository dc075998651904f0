"""Step-1 and Step-2 networks that were trained elsewhere: the authors' checkpoint files, and model folders of this project.

A released file is what `torch.save` wrote of a dict: `model` (state dict, possibly with the `module.` prefix of distributed
training), `optimizer`, `lr_scheduler`, `epoch`. Its keys are those of our networks, so nothing is renamed; which step it is,
and every width, follows from keys and shapes.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tris_core.runtime.errors import InputError
from tris_core.runtime.files import sha256_of_file
from tris_core.weights.archives import read_checkpoint
from tris_core.weights.configs import network_of
from tris_core.weights.fitting import Build, fitted, no_such_network, skeleton
from tris_core.weights.hub import local_file
from tris_core.weights.model_folder import open_folder

SIZE = 320  # side of the square the released networks were trained on
TEXT = {"max_tokens": 20, "overflow": "cut"}
Builders = Mapping[int, Build]  # stage: `build_step1` or `build_step2`
_ONLY = {1: "attn_fusion.", 2: "attention2."}  # keys that only this stage's network has
_GROUP_KEYS = ("lr", "initial_lr", "weight_decay")


def open_weights(
    location: str | Path, builders: Builders
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The trained network of a model folder or a released file: its state dict (float32) and its `config.json`.

    `location` is a path, or a released file's hf://owner/repo/file (see `locations`). The configuration's `source` says which
    file it is (location, SHA-256) and, of a released file, what else it tells (`found`). Raises
    `InputError` that names the keys if any is missing, unexpected or of another shape than the network's, or if the network is
    of a stage without a builder.
    """
    path = local_file(str(location))
    named = {f"Step-{stage}": build for stage, build in builders.items()}
    if path.is_dir():
        state, config = open_folder(path, named)
        return state, {
            **config,
            "source": {"file": str(location), "sha256": config["weights_sha256"]},
        }
    content = read_checkpoint(path)
    if not isinstance(content.get("model"), dict):
        raise InputError(
            f"{path}: no released checkpoint: it has no `model`, but {', '.join(map(str, list(content)[:5]))}"
        )
    state = {str(key).removeprefix("module."): value for key, value in content["model"].items()}
    if foreign := [key for key, value in state.items() if not isinstance(value, Tensor)]:
        raise InputError(
            f"{path}: `model` holds {foreign[0]}, which is no tensor; expected a state dict"
        )
    stage = _stage_of(state, path)
    if stage not in builders:
        raise InputError(f"{path}: holds Step-{stage}, not {' or '.join(named)}")
    with no_such_network(path):
        config = _deduced_config(state, stage, path)
    network_of(config, path)
    state = fitted(state, skeleton(builders[stage], config, path), path)
    return state, {
        **config,
        "source": {
            "file": str(location),
            "sha256": sha256_of_file(path),
            "found": _found(content, state),
        },
    }


def describe_source(source: dict[str, Any]) -> list[str]:
    """A source in words: file, SHA-256 and what a released file tells of its training (D1, D19)."""
    lines = [f"{source['file']}: SHA-256 {source['sha256']}"]
    if "found" not in source:
        return lines
    found = source["found"]
    if found["temperature"] is not None:
        lines.append(f"temperature: {found['temperature']:.6f}")
    for number, group in enumerate(found["optimizer"], start=1):
        rates = ", ".join(f"{key} {group[key]}" for key in _GROUP_KEYS)
        lines.append(f"optimizer group {number}: {group['tensors']} tensors, {rates}")
    return [*lines, f"epoch: {found['epoch']}"]


def _found(content: dict[str, Any], state: dict[str, Tensor]) -> dict[str, Any]:
    """What a file tells beside its weights. Only numbers: nobody checked the rest."""
    optimizer = content.get("optimizer")
    groups = optimizer.get("param_groups") if isinstance(optimizer, dict) else None
    plain = (
        [group for group in groups if isinstance(group, dict)] if isinstance(groups, list) else []
    )
    return {
        "temperature": _temperature(state) if "logit_scale" in state else None,
        "optimizer": [
            {
                **{key: _number(group.get(key)) for key in _GROUP_KEYS},
                "tensors": len(list(group.get("params") or [])),
            }
            for group in plain
        ],
        "epoch": _number(content.get("epoch")),
    }


def _number(value: Any) -> float | int | None:
    return value if isinstance(value, int | float) else None


def _temperature(state: dict[str, Tensor]) -> float:
    """1 / exp(logit_scale); 1 where there is no such number, which `fitted` refuses."""
    scale = state["logit_scale"]
    if scale.numel() != 1 or not math.isfinite(float(scale)):
        return 1.0
    return math.exp(-min(max(float(scale), -700.0), 700.0))


def _stage_of(state: dict[str, Tensor], path: Path) -> int:
    stages = [
        stage for stage, prefix in _ONLY.items() if any(key.startswith(prefix) for key in state)
    ]
    if len(stages) != 1:
        raise InputError(
            f"{path}: neither Step-1 (keys attn_fusion.*) nor Step-2 (keys attention2.*) of TRIS"
        )
    return stages[0]


def _deduced_config(state: dict[str, Tensor], stage: int, path: Path) -> dict[str, Any]:
    """`config.json` of a released network, from the shapes of its weights. OpenAI's CLIP means QuickGELU and heads of 64."""

    def shape(key: str) -> torch.Size:
        if key not in state:
            raise InputError(
                f"{path}: the released Step-{stage} has {key}, which is missing; it may have been renamed"
            )
        return state[key].shape

    def blocks(prefix: str) -> int:
        return len({key[len(prefix) :].split(".")[0] for key in state if key.startswith(prefix)})

    positions = shape("backbone.visual.attnpool.positional_embedding")[0]
    vocabulary, width = shape("backbone.token_embedding.weight")
    clip = {
        "embed_dim": shape("backbone.text_projection")[1],
        "vision_cfg": {
            "layers": [blocks(f"backbone.visual.layer{i}.") for i in (1, 2, 3, 4)],
            "width": shape("backbone.visual.layer1.0.conv1.weight")[0],
            "image_size": 32 * math.isqrt(max(0, positions - 1)),
        },
        "text_cfg": {
            "context_length": shape("backbone.positional_embedding")[0],
            "vocab_size": vocabulary,
            "width": width,
            "heads": width // 64,
            "layers": blocks("backbone.transformer.resblocks."),
        },
        "quick_gelu": True,
    }
    if stage == 1:
        hidden, visual_channels = shape("vis_project.weight")[:2]
        shape("logit_scale")
        model: dict[str, Any] = {
            "visual_channels": visual_channels,
            "text_channels": shape("lan_project.weight")[1],
            "hidden": hidden,
            "alpha": 0.1,
            "beta": 0.1,
            "temperature": _temperature(state),
            "learn_temperature": False,
        }
    else:
        stages = [shape(f"reduced_c{i}.conv.weight")[1] for i in (1, 2, 3, 4)]
        model = {
            "stage_channels": stages,
            "text_width": width,
            "width": shape("reduced_c1.conv.weight")[0],
        }
    return {
        "clip": {"config": clip, "vocabulary": None},
        "text": TEXT,
        "size": SIZE,
        "model": model,
    }
