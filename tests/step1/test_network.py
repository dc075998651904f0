"""Step-1 against the numbers of the released implementation."""

import json

import pytest
import torch
import torch.nn.functional as F

from tests.golden.reference import (
    FOLDER,
    close,
    formula_input,
    golden,
    load_formula,
    scorer,
    step1_model,
)
from tris_core.clip.towers import encode_words, sentence_feature, stage_features
from tris_core.runtime.device import autocast
from tris_core.step1.losses import (
    classification_loss,
    image_level_score,
    negative_term,
    positive_term,
)
from tris_core.step1.network import Step1
from tris_core.step1.prompt import BilateralPrompt
from tris_core.step1.scorer import Scorer

G = golden("step1")
WITHOUT_EFFECT = [
    f"attn_fusion.v_{layer}.0.bias" for layer in ("proj1", "proj2", "proj3", "output")
]  # instance norm follows
TOKENS, NEGATIVES = torch.from_numpy(G["tokens"]), torch.from_numpy(G["neg_tokens"])


def released_losses(model: Step1, aux: Scorer, image: torch.Tensor) -> dict[str, torch.Tensor]:
    """The loss of the 2024 release: 1 positive + 5 classification + 2 averaged negative."""
    vis, lan = model.encode_image(image), model.encode_text(TOKENS)
    response = model.respond(vis, lan.expand(len(image), *lan.shape))
    own = response.diagonal().permute(2, 0, 1)
    score = image_level_score(response)
    cls = classification_loss(score, torch.arange(6), torch.ones(6, 6, dtype=torch.bool))
    seen = aux.seen(image, own, "sigmoid")
    positive = (seen * aux.sentence(TOKENS)).sum(1)
    negative_sentences = aux.sentence(NEGATIVES.flatten(0, 1)).unflatten(0, (6, 3))
    negative = torch.einsum("be,bke->bk", seen, negative_sentences)
    fg, neg = positive_term(positive, eps=1e-4), negative_term(negative, eps=1e-4, reduction="mean")
    parts = {
        "own": own,
        "score": score,
        "cls": cls,
        "positive": positive,
        "negative": negative,
        "fg": fg,
        "neg": neg,
    }
    return {**parts, "total": fg + 5 * cls + 2 * neg}


@pytest.fixture(scope="module")
def image() -> torch.Tensor:
    return formula_input("step1.image", (6, 3, 320, 320))


def test_bilateral_prompt_equals_the_release() -> None:
    g = golden("bilateral_prompt")
    prompt = load_formula(BilateralPrompt(32), "prompt.", "bilateral_prompt")
    vis, lan = torch.from_numpy(g["vis"]), torch.from_numpy(g["lan"])
    close(prompt.text_to_visual(vis, lan), g["new_vis"])
    close(prompt.visual_to_text(vis, lan), g["new_lan"])


@torch.no_grad()
def test_inference_equals_the_release(image: torch.Tensor) -> None:
    model = step1_model().eval()
    close(
        stage_features(model.backbone.visual, image)[-1].mean((2, 3))[:, :64], G["c4_mean_first64"]
    )
    text = sentence_feature(model.backbone, encode_words(model.backbone, TOKENS), TOKENS)
    close(text[:, :64], G["text_projected_first64"])
    vis, lan = model.encode_image(image), model.encode_text(TOKENS)
    together = model.respond(vis, lan.expand(6, *lan.shape)).diagonal().permute(2, 0, 1)
    close(together[:, None], G["eval_response_all_texts"])
    single = model.respond_pairs(vis, lan)
    close(single[:, None], G["eval_response_single"])
    assert not torch.allclose(single, together, rtol=1e-3), "else this test proves nothing"
    one = model.respond(vis[:1], lan[:1, None])
    torch.testing.assert_close(one[0, 0], single[0], rtol=1e-5, atol=1e-5)


def test_training_step_equals_the_release(image: torch.Tensor) -> None:
    model, aux = step1_model().train(), Scorer(scorer(), size=224)
    out = released_losses(model, aux, image)
    close(out["own"][:, None], G["train_response"])
    close(out["score"], G["cls_logits"])
    close(out["positive"], G["pos_similarity"])
    close(out["negative"], G["neg_similarity"])
    for ours, theirs in (
        ("cls", "cls_loss"),
        ("fg", "fg_loss"),
        ("neg", "neg_loss"),
        ("total", "total_loss"),
    ):
        assert out[ours].item() == pytest.approx(float(G[theirs]), rel=1e-4)
    out["total"].backward()
    expected = json.loads((FOLDER / "step1_grad_norms.json").read_text())
    norms = {
        name: p.grad.norm().item() for name, p in model.named_parameters() if p.grad is not None
    }
    for name, norm in norms.items():
        assert norm == pytest.approx(
            expected[name], rel=1e-3, abs=1e-3 if name in WITHOUT_EFFECT else 1e-5
        ), name
    assert {name for name, norm in expected.items() if norm and norm > 1e-5} <= norms.keys() | {
        "logit_scale"
    }


def test_eight_training_steps_equal_the_release(image: torch.Tensor) -> None:
    g = golden("step1_trajectory")
    model, aux = step1_model().train(), Scorer(scorer(), size=224)
    backbone = list(model.backbone.parameters())
    rest = [
        p
        for n, p in model.named_parameters()
        if not n.startswith("backbone.") and n != "logit_scale"
    ]
    groups = [{"params": backbone, "lr": 5e-6}, {"params": rest, "lr": 5e-5}]
    optimizer = torch.optim.AdamW(groups, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: (1 - step / 20) ** 0.9)
    columns = g["columns"].tolist()
    for losses, rates in zip(g["losses"], g["lr_after_step"], strict=True):
        out = released_losses(model, aux, image)
        named = {
            "total": out["total"],
            "cls": out["cls"],
            "fg": out["fg"],
            "pos": out["fg"],
            "neg": out["neg"],
        }
        for name, expected in zip(columns, losses, strict=True):
            assert named[name].item() == pytest.approx(expected, rel=1e-3), name
        optimizer.zero_grad()
        out["total"].backward()
        optimizer.step()
        schedule.step()
        assert sorted(schedule.get_last_lr()) == pytest.approx(sorted(rates))
    final = model.state_dict()
    for name, norm in zip(g["final_norm_names"].tolist(), g["final_norms"], strict=True):
        assert final[name].norm().item() == pytest.approx(norm, rel=1e-3), name


@pytest.mark.parametrize(("alpha", "beta"), [(0.0, 0.0), (0.1, 0.0), (0.0, 0.1)])
def test_a_residual_of_weight_zero_is_dropped(alpha: float, beta: float) -> None:
    model = step1_model().eval()
    model.alpha, model.beta = alpha, beta
    vis, lan = (
        F.normalize(torch.randn(2, 1024, 3, 3), dim=1),
        F.normalize(torch.randn(2, 4, 1024), dim=2),
    )
    out = model.respond(vis, lan)
    v = vis + alpha * model.attn_fusion.text_to_visual(vis, lan)
    t = lan + beta * model.attn_fusion.visual_to_text(vis, lan)
    torch.testing.assert_close(
        out, torch.einsum("bnc,bchw->bnhw", t, v) / 0.07, rtol=1e-4, atol=1e-4
    )


def test_bfloat16_gives_the_responses_losses_and_gradients_of_float32() -> None:
    """bfloat16 rounds the encoders' and the prompt's products to 8 bits, but not Eq. 2's."""
    image, aux = formula_input("step1.bf16", (6, 3, 96, 96)), Scorer(scorer(), size=224)
    found = []
    for precision in ("fp32", "bf16"):
        model = step1_model().train()
        with autocast(torch.device("cpu"), precision):
            out = released_losses(model, aux, image)
        out["total"].backward()
        found.append((out, model.vis_project.weight.grad.flatten()))
    (exact, exact_gradient), (rounded, rounded_gradient) = found
    own = rounded["own"]
    assert own.dtype == torch.float32
    assert (own != own.bfloat16()).float().mean() > 0.9, "Eq. 2 was rounded to bfloat16"
    assert (own - exact["own"]).abs().max() < 0.02 / 0.07, "2 % of a cosine"
    assert torch.corrcoef(torch.stack([own.flatten(), exact["own"].flatten()]))[0, 1] > 0.98
    for name in ("cls", "fg", "neg", "total"):
        assert rounded[name].item() == pytest.approx(exact[name].item(), rel=0.02), name
    assert F.cosine_similarity(rounded_gradient, exact_gradient, dim=0) > 0.97
    assert rounded_gradient.norm().item() == pytest.approx(exact_gradient.norm().item(), rel=0.05)
