"""The full-width models with formula weights that the golden numbers were computed with."""

import json
from pathlib import Path

import numpy as np
import torch
from open_clip.model import CLIP
from torch import Tensor, nn

from tests.golden.formula import tensor, weights
from tris_core.clip.towers import build_clip
from tris_core.step1.network import Step1
from tris_core.step2.network import Step2
from tris_core.weights.clip_spec import ClipConfig
from tris_core.weights.configs import Step1Model

FOLDER = Path(__file__).parent
SHAPES = json.loads((FOLDER / "state_dict_shapes.json").read_text())
RN = {"layers": [1, 1, 1, 1], "width": 64, "image_size": 224}
TEXT = {"context_length": 77, "vocab_size": 49408, "width": 512, "heads": 8, "layers": 2}
VIT = {"layers": 2, "width": 768, "patch_size": 32, "image_size": 224}


def golden(name: str) -> dict[str, np.ndarray]:
    with np.load(FOLDER / f"{name}.npz") as archive:
        return {key: archive[key] for key in archive.files}


def formula_input(name: str, shape: tuple[int, ...]) -> Tensor:
    return torch.from_numpy(tensor("x:" + name, shape))


def load_formula(model: nn.Module, prefix: str, which: str) -> nn.Module:
    """Load formula weights into `model`. Its keys and shapes must be those of the release."""
    named = weights({prefix + key: shape for key, shape in SHAPES[which].items()})
    state = {
        key.removeprefix(prefix): torch.from_numpy(np.asarray(value))
        for key, value in named.items()
    }
    model.load_state_dict(state, strict=True)
    return model


def clip(
    vision: dict[str, object], embed: int, text_layers_width: dict[str, object] = TEXT
) -> CLIP:
    towers = {"vision_cfg": vision, "text_cfg": text_layers_width}
    content = {"embed_dim": embed, **towers, "quick_gelu": True}
    return build_clip(ClipConfig.model_validate(content))


def step1_model() -> Step1:
    released = Step1Model(
        visual_channels=2048, text_channels=1024, hidden=1024,
        alpha=0.1, beta=0.1, temperature=0.07, learn_temperature=False,
    )  # fmt: skip
    model = Step1(clip(RN, 1024), released)
    load_formula(model, "step1.", "step1")
    return model


def scorer() -> CLIP:
    return load_formula(clip(VIT, 512), "aux.", "aux_clip").requires_grad_(False).eval()  # type: ignore[return-value]


def step2_model() -> Step2:
    model = Step2(clip(RN, 1024), stage_channels=(256, 512, 1024, 2048), text_width=512, width=64)
    load_formula(model, "step2.", "step2")
    return model


def close(actual: Tensor | np.ndarray, expected: np.ndarray, tolerance: float = 1e-4) -> None:
    """Assert agreement within `tolerance` times the largest expected magnitude."""
    actual = actual.detach().numpy() if isinstance(actual, Tensor) else actual
    assert actual.shape == expected.shape
    assert np.abs(actual - expected).max() <= tolerance * np.abs(expected).max()
