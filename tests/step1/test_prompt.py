"""The bilateral prompt read literally (Eq. 1-5), against loops over texts and positions."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.support.tiny_models import step1_config
from tris_core.step1.network import Step1, build_step1
from tris_core.weights.configs import Step1Config
from tris_core.weights.model_folder import load_model, save_model

HIDDEN = 8


def network(seed: int = 0, **changes: Any) -> Step1:
    """A tiny Step-1 whose prompt counts: large weights, no zero bias."""
    torch.manual_seed(seed)
    model = build_step1(step1_config(hidden=HIDDEN, alpha=0.7, beta=0.4, **changes))
    with torch.no_grad():
        for parameter in model.attn_fusion.parameters():
            parameter.copy_(torch.randn_like(parameter))
    return model.eval()


def features(seed: int, texts: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    vis = torch.randn(2, HIDDEN, 3, 4, generator=generator)
    return vis, torch.randn(2, texts, HIDDEN, generator=generator)


def softmax(x: np.ndarray) -> np.ndarray:
    return np.exp(x - x.max()) / np.exp(x - x.max()).sum()


def literal_response(weights: dict[str, np.ndarray], v: np.ndarray, el: np.ndarray) -> np.ndarray:
    """R (HW,) of one text l (C,) on an image V (HW, C), from the text of Eq. 1-5."""
    attended = softmax(
        np.array([(row @ weights["v1"]) @ (el @ weights["t2"]) for row in v]) / scale
    )
    spread = softmax(np.array([(el @ weights["t1"]) @ (row @ weights["v2"]) for row in v]) / scale)
    new_l = sum(a * (row @ weights["v3"]) for a, row in zip(attended, v, strict=True))
    new_v = np.array([a * (el @ weights["t3"]) for a in spread])
    return (v + 0.7 * new_v) @ (el + 0.4 * new_l) / 0.07


scale = np.sqrt(HIDDEN)


@torch.no_grad()
def test_plain_matrices_and_the_spatial_softmax_are_the_text_of_the_paper() -> None:
    model = network(softmax="space", projection="plain")
    state = model.attn_fusion.state_dict()
    weights = {
        f"{kind}{i}": state[f"{kind}_proj{i}.weight"].flatten(1).T.double().numpy()
        for kind in "vt"
        for i in (1, 2, 3)
    }
    assert len(state) == 6, "no bias, no norm, no output layer"
    vis, lan = features(1, texts=3)
    found = model.respond(vis, lan).flatten(2)
    for b in range(2):
        for n in range(3):
            v, el = vis[b].flatten(1).T.double().numpy(), lan[b, n].double().numpy()
            expected = literal_response(weights, v, el)
            np.testing.assert_allclose(found[b, n].numpy(), expected, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_the_released_output_layer_is_applied_to_each_texts_own_v() -> None:
    """The closed form against V' (C, H, W) of every text, sent through convolution and norm."""
    model = network(softmax="space", projection="released")
    prompt, (vis, lan) = model.attn_fusion, features(2, texts=3)
    prompted = torch.randn(lan.shape, generator=torch.Generator().manual_seed(3))
    found = prompt.residual_response(vis, lan, prompted)
    for b in range(2):
        for n in range(3):
            logits = prompt.t_proj1(lan[b, n]) @ prompt.v_proj2(vis[b : b + 1])[0].flatten(1)
            attention = torch.softmax(logits / scale, dim=0)
            spread = torch.outer(prompt.t_proj3(lan[b, n]), attention).view(1, HIDDEN, 3, 4)
            expected = torch.einsum("chw,c->hw", prompt.v_output(spread)[0], prompted[b, n])
            torch.testing.assert_close(found[b, n], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("projection", ["released", "plain"])
@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 999), texts=st.integers(2, 5))
def test_with_space_a_response_does_not_depend_on_the_other_texts(
    projection: str, seed: int, texts: int
) -> None:
    """No gap between training (N > 1) and inference (N = 1); with `texts` there is one."""
    vis, lan = features(seed, texts)
    for softmax_over, equal in (("space", True), ("texts", False)):
        model = network(seed, softmax=softmax_over, projection=projection)
        with torch.no_grad():
            together = model.respond(vis, lan)
            alone = torch.stack([model.respond_pairs(vis, lan[:, n]) for n in range(texts)], dim=1)
        size = float(together.abs().max())
        assert torch.allclose(together, alone, atol=1e-5 * size) is equal


@pytest.mark.parametrize("softmax_over", ["texts", "space"])
@pytest.mark.parametrize("projection", ["released", "plain"])
def test_every_weight_of_the_prompt_learns(softmax_over: str, projection: str) -> None:
    model = network(softmax=softmax_over, projection=projection)
    vis, lan = features(4, texts=3)
    model.respond(vis, lan).square().sum().backward()
    without = {n for n, p in model.attn_fusion.named_parameters() if p.grad is None}
    # the norm takes off the bias of the convolution before it
    assert without == (
        {"v_output.0.bias"} if (softmax_over, projection) == ("space", "released") else set()
    )
    assert all(
        p.grad.isfinite().all() for p in model.attn_fusion.parameters() if p.grad is not None
    )


def test_a_saved_model_is_rebuilt_with_its_prompt(tmp_path: Path) -> None:
    config = step1_config(softmax="space", projection="plain")
    model = build_step1(config)
    save_model(tmp_path / "step1", model.state_dict(), config)
    loaded, found = load_model(tmp_path / "step1", Step1Config, build_step1)
    assert (found.model.softmax, found.model.projection) == ("space", "plain")
    vis, lan = features(5, texts=2)
    with torch.no_grad():
        assert torch.equal(loaded.respond(vis, lan), model.eval().respond(vis, lan))
    before = step1_config().model  # its file names neither
    assert (before.softmax, before.projection) == ("texts", "released")
