"""The scorer of Eq. 9: what it sees, and its features of sentences."""

import numpy as np
import pytest
import torch

from tris_core.clip.towers import build_clip
from tris_core.step1.scorer import Scorer, SentenceFeatures, masked_image
from tris_core.weights.clip_spec import ClipConfig

TINY = ClipConfig.model_validate({
    "embed_dim": 16,
    "vision_cfg": {"layers": [1, 1, 1, 1], "width": 8, "image_size": 32},
    "text_cfg": {"context_length": 6, "width": 16, "heads": 2, "layers": 1, "vocab_size": 50},
    "quick_gelu": False,
})  # fmt: skip
RAMP = torch.tensor([-6.0, -6.0, -4.5, -1.5, 1.5, 4.5, 6.0, 6.0])


@pytest.mark.parametrize(("mask", "expected"), [("sigmoid", RAMP.sigmoid()), ("relu", RAMP.relu())])
def test_a_response_becomes_a_mask_after_upsampling(mask: str, expected: torch.Tensor) -> None:
    image, response = torch.ones(1, 3, 8, 8), torch.tensor([[[-6.0, 6.0]]])
    seen = masked_image(image, response, 8, mask)[0, 0, 0]  # type: ignore[arg-type]
    torch.testing.assert_close(seen, expected, rtol=1e-4, atol=1e-4)


def test_one_image_serves_all_its_maps() -> None:
    torch.manual_seed(0)
    scorer = Scorer(build_clip(TINY), size=32)
    image, maps = torch.randn(1, 3, 64, 64), torch.randn(3, 2, 2)
    together = scorer.seen(image, maps, "relu")
    apart = torch.cat([scorer.seen(image, one[None], "relu") for one in maps])
    torch.testing.assert_close(together, apart, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(together.norm(dim=1), torch.ones(3))


def test_gradients_reach_the_response_but_not_the_scorer() -> None:
    torch.manual_seed(0)
    scorer = Scorer(build_clip(TINY), size=32)
    response = torch.randn(2, 2, 2, requires_grad=True)
    scorer.seen(torch.randn(2, 3, 64, 64), response, "sigmoid").sum().backward()
    assert response.grad is not None
    assert response.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in scorer.clip.parameters())


@pytest.mark.parametrize("rows", [np.array([3]), np.array([[0, 599], [7, 7]])])
def test_features_beyond_the_budget_equal_those_of_the_table(rows: np.ndarray) -> None:
    torch.manual_seed(0)
    scorer = Scorer(build_clip(TINY), size=32)
    tokens, cpu = torch.randint(1, 49, (600, 6), dtype=torch.int32), torch.device("cpu")
    width = scorer.clip.text_projection.shape[1]
    table = SentenceFeatures(scorer, tokens, cpu, budget=600 * width * 4)
    encoded: list[int] = []
    scorer.clip.token_embedding.register_forward_hook(
        lambda module, args, out: encoded.append(len(args[0]))
    )
    found = table[rows]
    assert not encoded, "looked up"
    on_demand = SentenceFeatures(scorer, tokens, cpu, budget=600 * width * 4 - 1)
    assert not encoded, "nothing is encoded before it is asked for"
    assert torch.allclose(on_demand[rows], found, atol=1e-6)
    assert encoded == [rows.size]
    assert found.shape == (*rows.shape, width)
    assert torch.allclose(found.norm(dim=-1), torch.ones(rows.shape))
    assert not on_demand[rows].requires_grad
    assert table.describe() == "600 sentences encoded once, a table of 0 MB"
    assert on_demand.describe() == "600 sentences encoded at each use, a table would take 0 MB"
