"""Networks that were trained elsewhere: the authors' checkpoint files, and our model folders.

A released file is what `torch.save` wrote of a dict: `model` (state dict, possibly with the
`module.` prefix of distributed training), `optimizer`, `lr_scheduler`, `epoch`. Its keys are those
of our networks, so nothing is renamed. Keys and shapes tell which step it is and every width.
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
from tris_core.weights.configs import (
    Found,
    ModelConfig,
    Number,
    OptimizerGroup,
    Source,
    model_config,
)
from tris_core.weights.fitting import Build, fitted, no_such_network, skeleton
from tris_core.weights.hub import local_file
from tris_core.weights.model_folder import open_folder

SIZE = 320  # side of the square the released networks were trained on
TEXT = {"max_tokens": 20, "overflow": "cut"}
Builders = Mapping[int, Build]  # stage: `build_step1` or `build_step2`
_ONLY = {1: "attn_fusion.", 2: "attention2."}  # keys that only this stage's network has


def open_weights(location: str | Path, builders: Builders) -> tuple[dict[str, Tensor], ModelConfig]:
    """Read the trained network of a model folder or a released file.

    Args:
        location: a path, or a released file's hf://owner/repo/file (see `weights.hub`).
        builders: the stages that it may be of.

    Returns:
        State dict (float32) and configuration. Its `source` says which file it is and, for a
        released file, what else the file tells (`found`).

    Raises:
        InputError: a key is missing, unexpected or of another shape than the network's, or the
            network is of a stage without a builder.
    """
    path = local_file(str(location))
    named = {f"Step-{stage}": build for stage, build in builders.items()}
    if path.is_dir():
        state, config = open_folder(path, named)
        assert config.weights_sha256 is not None  # open_folder compares it
        source = Source(file=str(location), sha256=config.weights_sha256)
        return state, config.model_copy(update={"source": source})
    content = read_checkpoint(path)
    state = _state_dict(content, path)
    stage = _stage_of(state, path)
    if stage not in builders:
        raise InputError(f"{path}: holds Step-{stage}, not {' or '.join(named)}")
    with no_such_network(path):
        deduced = {1: _deduced_step1, 2: _deduced_step2}[stage](_Shapes(state, path))
    config = model_config(deduced, path)
    state = fitted(state, skeleton(builders[stage], config, path), path)
    source = Source(file=str(location), sha256=sha256_of_file(path), found=_found(content, state))
    return state, config.model_copy(update={"source": source})


def describe_source(source: Source) -> list[str]:
    """A source in words: file, SHA-256, and what a released file tells of its training.

    Temperature and optimizer groups are where paper and release differ
    (docs/paper_vs_code.md#temperature, docs/paper_vs_code.md#learning-rate).
    """
    lines = [f"{source.file}: SHA-256 {source.sha256}"]
    if source.found is None:
        return lines
    if source.found.temperature is not None:
        lines.append(f"temperature: {source.found.temperature:.6f}")
    for number, group in enumerate(source.found.optimizer, start=1):
        lines.append(
            f"optimizer group {number}: {group.tensors} tensors, lr {group.lr}, "
            f"initial_lr {group.initial_lr}, weight_decay {group.weight_decay}"
        )
    return [*lines, f"epoch: {source.found.epoch}"]


def _state_dict(content: dict[str, Any], path: Path) -> dict[str, Tensor]:
    if not isinstance(content.get("model"), dict):
        keys = ", ".join(map(str, list(content)[:5]))
        raise InputError(f"{path}: no released checkpoint: it has no `model`, but {keys}")
    state = {str(key).removeprefix("module."): value for key, value in content["model"].items()}
    if foreign := [key for key, value in state.items() if not isinstance(value, Tensor)]:
        raise InputError(
            f"{path}: `model` holds {foreign[0]}, which is no tensor; expected a state dict"
        )
    return state


def _found(content: dict[str, Any], state: dict[str, Tensor]) -> Found:
    """What a file tells beside its weights. Only numbers are kept: the rest is unchecked."""
    optimizer = content.get("optimizer")
    groups = optimizer.get("param_groups") if isinstance(optimizer, dict) else None
    return Found(
        temperature=_temperature(state) if "logit_scale" in state else None,
        optimizer=[
            _group(group)
            for group in (groups if isinstance(groups, list) else [])
            if isinstance(group, dict)
        ],
        epoch=_number(content.get("epoch")),
    )


def _group(group: dict[str, Any]) -> OptimizerGroup:
    tensors = group.get("params")
    return OptimizerGroup(
        lr=_number(group.get("lr")),
        initial_lr=_number(group.get("initial_lr")),
        weight_decay=_number(group.get("weight_decay")),
        tensors=len(tensors) if isinstance(tensors, list) else 0,
    )


def _number(value: Any) -> Number:
    """A finite number, else None. JSON has no others."""
    is_number = type(value) is int or (type(value) is float and math.isfinite(value))
    return value if is_number else None


def _temperature(state: dict[str, Tensor]) -> float:
    """1 / exp(logit_scale); 1 if that is no finite number, which `fitted` refuses."""
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


class _Shapes:
    """The shapes of a released network's weights."""

    def __init__(self, state: dict[str, Tensor], path: Path) -> None:
        self.state, self._path = state, path

    def __getitem__(self, key: str) -> torch.Size:
        if key not in self.state:
            raise InputError(
                f"{self._path}: the released network has {key}, which is missing; "
                "it may have been renamed"
            )
        return self.state[key].shape

    def blocks(self, prefix: str) -> int:
        """How many numbered parts the keys under `prefix` have."""
        rest = [key.removeprefix(prefix) for key in self.state if key.startswith(prefix)]
        return len({key.split(".")[0] for key in rest})


def _deduced_step1(shapes: _Shapes) -> dict[str, Any]:
    """`config.json` of a released Step-1."""
    hidden, visual_channels = shapes["vis_project.weight"][:2]
    text_channels = shapes["lan_project.weight"][1]
    shapes["logit_scale"]  # refuse a file without one
    network = {
        "visual_channels": visual_channels,
        "text_channels": text_channels,
        "hidden": hidden,
        "alpha": 0.1,
        "beta": 0.1,
        "temperature": _temperature(shapes.state),
        "learn_temperature": False,
    }
    return {"clip": _deduced_clip(shapes), "text": TEXT, "size": SIZE, "model": network}


def _deduced_step2(shapes: _Shapes) -> dict[str, Any]:
    """`config.json` of a released Step-2."""
    network = {
        "stage_channels": [shapes[f"reduced_c{i}.conv.weight"][1] for i in (1, 2, 3, 4)],
        "text_width": shapes["backbone.token_embedding.weight"][1],
        "width": shapes["reduced_c1.conv.weight"][0],
    }
    return {"clip": _deduced_clip(shapes), "text": TEXT, "size": SIZE, "model": network}


def _deduced_clip(shapes: _Shapes) -> dict[str, Any]:
    """The CLIP of a released network. OpenAI's weights mean QuickGELU and heads of 64 channels."""
    positions = shapes["backbone.visual.attnpool.positional_embedding"][0]
    vocabulary, width = shapes["backbone.token_embedding.weight"]
    vision = {
        "layers": [shapes.blocks(f"backbone.visual.layer{i}.") for i in (1, 2, 3, 4)],
        "width": shapes["backbone.visual.layer1.0.conv1.weight"][0],
        "image_size": 32 * math.isqrt(max(0, positions - 1)),
    }
    text = {
        "context_length": shapes["backbone.positional_embedding"][0],
        "vocab_size": vocabulary,
        "width": width,
        "heads": width // 64,
        "layers": shapes.blocks("backbone.transformer.resblocks."),
    }
    config = {
        "embed_dim": shapes["backbone.text_projection"][1],
        "vision_cfg": vision,
        "text_cfg": text,
        "quick_gelu": True,
    }
    return {"config": config, "vocabulary": None}
