"""Step-2 against the numbers of the released implementation."""

import json

import pytest
import torch
import torch.nn.functional as F

from tests.golden.reference import FOLDER, close, formula_input, golden, load_formula, step2_model
from tris_core.runtime.device import autocast
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


def test_expressions_that_share_an_image_get_the_same_logits_and_gradients() -> None:
    """In evaluation mode; in training, batch norm counts a shared image once."""
    image = formula_input("step2.shared", (2, 3, 96, 96)).double()
    tokens, image_of = torch.from_numpy(G["tokens"])[:3], torch.tensor([1, 0, 1])
    found = []
    for pictures, rows in ((image, image_of), (image[image_of], None)):
        model = step2_model().eval().double()
        logits = model(pictures, tokens, rows)
        torch.stack(logits).square().mean().backward()
        found.append([*logits, *(p.grad for p in model.parameters() if p.grad is not None)])
    for shared, alone in zip(*found, strict=True):
        torch.testing.assert_close(shared, alone, rtol=1e-8, atol=1e-12)


def test_bfloat16_gives_the_logits_losses_and_gradients_of_float32() -> None:
    image, tokens = (
        formula_input("step2.bf16", (6, 3, 96, 96)),
        torch.from_numpy(G["tokens"])[[0, 1, 2, 0, 1, 2]],
    )
    target = (formula_input("step2.bf16.target", (6, 1, 96, 96)) > 0.5).float()
    found = []
    for precision in ("fp32", "bf16"):
        model = step2_model().train()
        with autocast(torch.device("cpu"), precision):
            logits = [logit.float() for logit in model(image, tokens)]
        losses = torch.stack(deep_supervision_losses(logits, target))
        losses.sum().backward()
        found.append((logits[0].detach(), losses.detach(), model.final_seg1[1].weight.grad))
    (exact, exact_losses, exact_gradient), (rounded, rounded_losses, rounded_gradient) = found
    assert (rounded - exact).abs().max() < 0.5 * exact.std()
    assert torch.corrcoef(torch.stack([rounded.flatten(), exact.flatten()]))[0, 1] > 0.99
    assert (rounded != exact).float().mean() > 0.9, "nothing was rounded"
    torch.testing.assert_close(rounded_losses, exact_losses, rtol=0.005, atol=0)
    assert F.cosine_similarity(exact_gradient.flatten(), rounded_gradient.flatten(), dim=0) > 0.99
