"""Tiny checkpoints in the format of the authors' release."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from typer.testing import CliRunner

from tests.golden.formula import weights
from tests.golden.reference import SHAPES
from tris_core.cli.main import app
from tris_core.clip.towers import build_clip
from tris_core.step1.network import build_step1
from tris_core.step2.network import build_step2
from tris_core.weights.configs import ModelConfig, model_config
from tris_core.weights.released import Builders

BUILDERS: Builders = {1: build_step1, 2: build_step2}
CLIP = {
    "embed_dim": 16,
    "vision_cfg": {"layers": [1, 2, 1, 1], "width": 8, "image_size": 96},
    "text_cfg": {"context_length": 24, "vocab_size": 49408, "width": 64, "heads": 1, "layers": 3},
    "quick_gelu": True,
}
STEP1 = {
    "visual_channels": 256, "text_channels": 16, "hidden": 12, "alpha": 0.1, "beta": 0.1,
    "temperature": 0.05, "learn_temperature": False,
}  # fmt: skip
POOLING = "backbone.visual.attnpool."  # in released files alone
STEP2 = {"stage_channels": [32, 64, 128, 256], "text_width": 64, "width": 8}


def released(state: dict[str, Tensor], path: Path, *, prefix: str = "") -> Path:
    """Save weights in the format of the authors' training script."""
    groups = [
        {"lr": 1e-7, "initial_lr": 5e-6, "weight_decay": 0.01, "params": [0, 1, 2]},
        {"lr": 1e-6, "initial_lr": 5e-5, "weight_decay": 0.01, "params": [3]},
    ]
    model = {prefix + key: value for key, value in state.items()}
    optimizer = {"state": {0: {"step": torch.tensor(9.0)}}, "param_groups": groups}
    torch.save(
        {
            "model": model,
            "optimizer": optimizer,
            "lr_scheduler": {"last_epoch": 7, "lr_lambdas": [None]},
            "epoch": 14,
        },
        path,
    )
    return path


def formula_state(which: str) -> dict[str, Tensor]:
    """Full-size weights of a released network, computed by formula."""
    named = weights({f"{which}.{key}": shape for key, shape in SHAPES[which].items()})
    return {
        key.removeprefix(f"{which}."): torch.from_numpy(np.asarray(value))
        for key, value in named.items()
    }


def small(stage: int) -> dict[str, Tensor]:
    """Random weights of a tiny Step-1 (`stage` 1) or Step-2 (`stage` 2), with the pooling."""
    content = folder_config(model={1: STEP1, 2: STEP2}[stage])
    config = model_config(content, Path("small"))
    return with_pooling(BUILDERS[stage](config), config)


def with_pooling(network: nn.Module, config: ModelConfig) -> dict[str, Tensor]:
    """The released state dict of a network: it holds all of CLIP, the tower's pooling too."""
    pooling = build_clip(config.clip.config).visual.attnpool.state_dict()
    named = {POOLING + key: value for key, value in pooling.items()}
    return {**network.state_dict(), **named}


def imported(file: Path, out: Path, *options: str) -> str:
    """Run `tris import-weights`, which must succeed, and return its output."""
    result = CliRunner().invoke(app, ["import-weights", str(file), "--out", str(out), *options])
    assert result.exit_code == 0, result.output
    return result.output


def folder_config(**changes: Any) -> dict[str, Any]:
    """config.json of a model folder with this Step-1."""
    clip, text = {"config": CLIP, "vocabulary": None}, {"max_tokens": 9, "overflow": "keep_eot"}
    return {"clip": clip, "text": text, "size": 96, "model": STEP1, **changes}
