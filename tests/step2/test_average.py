"""The running average against closed forms and the released rule written again."""

import math

import pytest
import torch
from torch import Tensor, nn

from tris_core.step2.average import RunningAverage, kept_share


class OneWeight(nn.Module):
    """A weight and a batch norm in `backbone`, another batch norm as decoder."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.BatchNorm1d(1)
        self.decoder = nn.BatchNorm1d(1)
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, image: Tensor, tokens: Tensor, image_of: Tensor | None) -> list[Tensor]:
        return [self.decoder(self.backbone(image)) + self.weight]

    def set(self, value: float) -> None:
        with torch.no_grad():
            for part in (self.weight, self.backbone.running_mean, self.backbone.bias):
                part.fill_(value)


def averages(values: list[float]) -> list[float]:
    """The averaged weight before each step, where `values` are the weights before each step."""
    model = OneWeight()
    model.set(values[0])
    average = RunningAverage(model)  # type: ignore[arg-type]
    seen = []
    for steps, value in enumerate(values):
        model.set(value)
        average.update(model, steps)  # type: ignore[arg-type]
        kept = average.module
        assert kept.weight.item() == kept.backbone.bias.item()
        assert kept.weight.item() == kept.backbone.running_mean.item(), "statistics too"
        seen.append(kept.weight.item())
    return seen


def released(values: list[float]) -> list[float]:
    """The library's rule: it is called after every step, with a count of its own from 0."""
    average, averaging, seen = values[0], False, [values[0]]
    for count, weight in enumerate(values[1:]):
        if count % 10 == 0 and count <= 100:
            average = weight
        elif count % 10 == 0:
            if not averaging:
                average, averaging = weight, True
            decay = min(max(1 - (1 + count + 1 - 101) ** (-2 / 3), 0.0), 0.9999)
            average = decay * average + (1 - decay) * weight
        seen.append(average)
    return seen


def test_the_average_is_that_of_the_release() -> None:
    values = [math.sin(step / 7) + step / 100 for step in range(1500)]
    assert averages(values) == pytest.approx(released(values), rel=1e-4, abs=1e-4)


def test_it_copies_every_ten_steps_until_the_average_begins() -> None:
    seen = averages([float(step) for step in range(122)])
    assert seen[:12] == [0.0] + 10 * [1.0] + [11.0]
    assert seen[100:112] == [91.0, *(10 * [101.0]), 111.0]
    assert seen[120] == 111.0
    assert seen[121] == pytest.approx(111 + 10 * 21 ** (-2 / 3))


def test_a_step_is_approached_by_the_product_of_the_kept_shares() -> None:
    seen = averages([0.0] * 112 + [1.0] * 400)
    left = math.prod(1 - 1 / round(n * n) ** (1 / 3) for n in range(21, 412, 10))
    assert 1 - seen[-1] == pytest.approx(left, rel=1e-4)


@pytest.mark.parametrize(
    ("steps", "share"),
    [(1, 0.0), (101, 0.0), (121, 0.8686), (1_101, 0.9900), (31_101, 0.9990), (2_000_001, 0.9999)],
)
def test_shares(steps: int, share: float) -> None:
    assert kept_share(steps) == pytest.approx(share, abs=5e-5)


def test_the_averaged_clip_uses_its_statistics_and_the_decoder_those_of_the_batch() -> None:
    model = OneWeight().train()
    average = RunningAverage(model)  # type: ignore[arg-type]
    for mode in (True, False, True):
        average.train(mode)
        assert not average.module.backbone.training
        assert average.module.decoder.training is mode
    image = torch.tensor([[3.0], [5.0]])
    (out,) = average(image, image)
    assert out.flatten().tolist() == pytest.approx([-1, 1], abs=1e-3)
    assert average.module.backbone.running_mean.item() == 0
    assert model.backbone.training
    assert all(not parameter.requires_grad for parameter in average.parameters())
    assert all(parameter.requires_grad for parameter in model.parameters())
