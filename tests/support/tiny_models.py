"""Step-1 and Step-2 with a few thousand random weights, in the model folders of training."""

from pathlib import Path
from typing import Any

import torch
from open_clip.tokenizer import SimpleTokenizer
from torch import nn

from tris_core.step1.network import build_step1
from tris_core.step2.network import build_step2
from tris_core.weights.configs import ModelConfig, Step1Config, Step1Model, Step2Config
from tris_core.weights.model_folder import save_model

SIZE, MAX_TOKENS, WORDS = 64, 8, "left right man red dog , on the of a"


def _configs() -> tuple[Step1Config, Step2Config]:
    vocabulary = sorted(set(SimpleTokenizer().encode(WORDS)))
    clip = {
        "embed_dim": 16,
        "vision_cfg": {"layers": [1, 1, 1, 1], "width": 8, "image_size": SIZE},
        "text_cfg": {
            "context_length": 12,
            "width": 16,
            "heads": 2,
            "layers": 1,
            "vocab_size": len(vocabulary) + 4,
        },
        "quick_gelu": False,
    }
    shared: dict[str, Any] = {
        "clip": {"name": "tiny", "sha256": "", "config": clip, "vocabulary": vocabulary},
        "text": {"max_tokens": MAX_TOKENS, "overflow": "keep_eot"},
        "size": SIZE,
    }
    prompt = {
        "hidden": 8,
        "alpha": 0.1,
        "beta": 0.1,
        "temperature": 0.07,
        "learn_temperature": False,
    }
    one = {**shared, "model": {"visual_channels": 256, "text_channels": 16, **prompt}}
    two = {**shared, "model": {"stage_channels": [32, 64, 128, 256], "text_width": 16, "width": 8}}
    return Step1Config.model_validate(one), Step2Config.model_validate(two)


def step1_config(**changes: Any) -> Step1Config:
    """The tiny Step-1's configuration with other values of its network."""
    config = _configs()[0]
    model = Step1Model.model_validate({**config.model.content(), **changes})
    return config.model_copy(update={"model": model})


def write_tiny_models(folder: Path, dtype: torch.dtype = torch.float32) -> tuple[Path, Path]:
    """Write `folder`/step1 and `folder`/step2 and return their paths."""
    one, two = _configs()
    networks: list[tuple[str, nn.Module, ModelConfig]] = [
        ("step1", build_step1(one), one),
        ("step2", build_step2(two), two),
    ]
    for name, model, config in networks:
        _roughen(model)
        save_model(folder / name, model.to(dtype).state_dict(), config)
    return folder / "step1", folder / "step2"


def _roughen(model: nn.Module) -> None:
    """Add noise to all matrices, so that the maps of both steps are neither zero nor flat."""
    generator = torch.Generator().manual_seed(3)
    for parameter in model.parameters():
        if parameter.ndim > 1:
            with torch.no_grad():
                noise = torch.randn(parameter.shape, generator=generator)
                parameter.add_(noise * parameter[0].numel() ** -0.5)
