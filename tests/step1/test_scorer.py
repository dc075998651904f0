"""The scorer of Eq. 9: what it sees, and its features of sentences."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from tests.support.closure import ROOT
from tris_core.clip.towers import build_clip
from tris_core.runtime.errors import InputError
from tris_core.runtime.params import read_params
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


def smooth_image(seed: int, count: int = 1) -> torch.Tensor:
    return torch.randn(count, 3, 56, 56, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("mask", ["sigmoid", "relu"])
def test_blur_fills_up_what_the_mask_takes(mask: str) -> None:
    """An even picture stays as it is where the mask is at most 1; a sure mask shows no blur."""
    maps = torch.randn(2, 4, 4, generator=torch.Generator().manual_seed(1))
    even = torch.full((1, 3, 56, 56), 0.7)
    seen = masked_image(even, maps, 56, mask, "blur")  # type: ignore[arg-type]
    assert torch.allclose(seen.clamp(max=0.7), torch.full_like(seen, 0.7), atol=1e-5)
    if mask == "sigmoid":
        assert torch.allclose(seen, torch.full_like(seen, 0.7), atol=1e-5)
    image, sure = smooth_image(2), torch.full((1, 4, 4), 30.0)
    with_blur = masked_image(image, sure, 56, mask, "blur")  # type: ignore[arg-type]
    assert torch.equal(with_blur, masked_image(image, sure, 56, mask, "mean"))  # type: ignore[arg-type]


def test_masked_out_pixels_are_the_means_of_cells() -> None:
    """56 pixels in 14 cells: 4 x 4 pixels each, whose means are seen at the cells' centres."""
    image = smooth_image(3)
    seen = masked_image(image, torch.full((1, 2, 2), -40.0), 56, "sigmoid", "blur")
    means = image.view(1, 3, 14, 4, 14, 4).mean((3, 5))
    centres = seen.view(1, 3, 14, 4, 14, 4)[:, :, :, 1:3, :, 1:3].mean((3, 5))
    inner = (slice(None), slice(None), slice(1, -1), slice(1, -1))
    neighbours = sum(
        weight * means.roll((dy, dx), (2, 3))
        for dy, a in ((-1, 1 / 16), (0, 14 / 16), (1, 1 / 16))
        for dx, b in ((-1, 1 / 16), (0, 14 / 16), (1, 1 / 16))
        for weight in [a * b]
    )
    torch.testing.assert_close(centres[inner], neighbours[inner], rtol=1e-4, atol=1e-5)


def test_a_crop_is_the_resized_box_around_the_positive_response() -> None:
    image = smooth_image(4, count=3)
    maps = torch.full((3, 56, 56), -1.0)
    maps[0, 10:31, 5:50] = 1
    maps[0, 12:20, 6:9] = -1
    maps[1, 40, 20] = maps[1, 50, 33] = 0.1
    boxes = [(10, 31, 5, 50), (40, 51, 20, 34), (0, 56, 0, 56)]  # the last has no positive pixel
    seen = masked_image(image, maps, 32, "relu", "crop")
    for one, picture, (top, bottom, left, right) in zip(seen, image, boxes, strict=True):
        box = picture[None, :, top:bottom, left:right]
        expected = F.interpolate(box, (32, 32), mode="bilinear", align_corners=True)[0]
        torch.testing.assert_close(one, expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(seen[:1], masked_image(image[:1], maps[:1], 32, "sigmoid", "crop"))


def test_training_refuses_to_crop(tmp_path: Path) -> None:
    text = (ROOT / "presets" / "shapes.yaml").read_text()
    changed = text.replace("  mask_fill: mean\n", "  mask_fill: crop\n")
    (tmp_path / "params.yaml").write_text(changed)
    with pytest.raises(InputError, match=r"train_step1\.mask_fill.*'mean' or 'blur'"):
        read_params(tmp_path / "params.yaml")


@pytest.mark.parametrize("fill", ["mean", "blur", "crop"])
def test_one_image_serves_all_its_maps(fill: str) -> None:
    torch.manual_seed(0)
    scorer = Scorer(build_clip(TINY), size=32, fill=fill)  # type: ignore[arg-type]
    image, maps = torch.randn(1, 3, 64, 64), torch.randn(3, 2, 2)
    together = scorer.seen(image, maps, "relu")
    apart = torch.cat([scorer.seen(image, one[None], "relu") for one in maps])
    torch.testing.assert_close(together, apart, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(together.norm(dim=1), torch.ones(3))


@pytest.mark.parametrize("fill", ["mean", "blur"])
def test_gradients_reach_the_response_but_not_the_scorer(fill: str) -> None:
    torch.manual_seed(0)
    scorer = Scorer(build_clip(TINY), size=32, fill=fill)  # type: ignore[arg-type]
    response = torch.randn(2, 2, 2, requires_grad=True)
    scorer.seen(torch.randn(2, 3, 64, 64), response, "sigmoid").sum().backward()
    assert response.grad is not None
    assert response.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in scorer.clip.parameters())


@pytest.mark.parametrize("rows", [torch.tensor([3]), torch.tensor([[0, 599], [7, 7]])])
def test_features_beyond_the_budget_equal_those_of_the_table(rows: torch.Tensor) -> None:
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
    assert encoded == [rows.numel()]
    assert found.shape == (*rows.shape, width)
    assert torch.allclose(found.norm(dim=-1), torch.ones(rows.shape))
    assert not on_demand[rows].requires_grad
    assert table.describe() == "600 sentences encoded once, a table of 0 MB"
    assert on_demand.describe() == "600 sentences encoded at each use, a table would take 0 MB"
