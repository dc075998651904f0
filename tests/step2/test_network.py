"""Step-2 against the numbers of the released implementation."""

import json

import pytest
import torch

from tests.golden.reference import FOLDER, close, formula_input, golden, load_formula, step2_model
from tris_core.step2.network import PixelAttention, deep_supervision_losses

G = golden("step2")


def test_pixel_attention_equals_the_release() -> None:
    g = golden("pixel_attention")
    attention = load_formula(PixelAttention(24, 16), "pwam.", "pixel_attention")
    close(attention(torch.from_numpy(g["vis"]), torch.from_numpy(g["lan"])), g["out"])


def test_network_equals_the_release() -> None:
    image, tokens = (
        formula_input("step2.image", (3, 3, 320, 320)),
        torch.from_numpy(G["tokens"])[:3],
    )
    model = step2_model().eval()
    with torch.no_grad():
        finest = model.segment(model.encode_image(image), tokens, 320)
        assert torch.equal(model(image, tokens)[0], finest)
    close(finest[:, :, ::8, ::8], G["eval_logits_stride8"])
    close(finest.mean((1, 2, 3)), G["eval_mean"])
    # In double: float32 rounds differently on each CPU, and a flipped ReLU moves a small gradient
    # by more than the tolerance.
    model.double().train()
    logits = model(image.double(), tokens)
    close(logits[0][:, :, ::8, ::8].float(), G["train_logits1_stride8"])
    target = (formula_input("step2.target", (3, 1, 320, 320)) > 0.5).double()
    losses = deep_supervision_losses(logits, target)
    assert [loss.item() for loss in losses] == pytest.approx(G["losses"].tolist(), rel=1e-4)
    torch.stack(losses).sum().backward()
    expected = json.loads((FOLDER / "step2_grad_norms.json").read_text())
    norms = {
        name: p.grad.norm().item() for name, p in model.named_parameters() if p.grad is not None
    }
    for name, norm in norms.items():
        assert abs(norm - expected[name]) <= 1e-3 * expected[name] + 1e-5, name
    assert {name for name, norm in expected.items() if norm and norm > 1e-5} <= norms.keys()
