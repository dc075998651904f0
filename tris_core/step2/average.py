"""The running average of Step-2's weights, as in the release (ema_pytorch 0.2.3)."""

import copy
from typing import Self

import torch
from torch import Tensor, nn

from tris_core.step2.network import Step2

EVERY = 10  # steps from one update to the next; the first is after step 1
LAST_COPY = 111  # the library copies up to its count of 100, and once more when averaging begins
WARM_UP = 100
MOST = 0.9999


class RunningAverage(nn.Module):
    """A copy of Step-2 that follows its weights and batch statistics.

    In training, its CLIP normalises with the averaged statistics and its decoder with those of the
    batch. This is so in the release, which makes the copy while CLIP is in evaluation mode. See
    docs/paper_vs_code.md#ema.
    """

    def __init__(self, model: Step2) -> None:
        super().__init__()
        self.module = copy.deepcopy(model).requires_grad_(False)
        self.train(model.training)

    def forward(
        self, image: Tensor, tokens: Tensor, image_of: Tensor | None = None
    ) -> list[Tensor]:
        """The averaged network's logits, see `Step2`."""
        logits: list[Tensor] = self.module(image, tokens, image_of)
        return logits

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        self.module.backbone.eval()
        return self

    @torch.no_grad()
    def update(self, model: Step2, steps: int) -> None:
        """Move towards `model` if an update is due after `steps` steps of its optimiser."""
        if steps % EVERY != 1:
            return
        new = model.state_dict()
        for name, value in self.module.state_dict().items():
            if value.is_floating_point():
                value.lerp_(new[name], 1 - kept_share(steps))


def kept_share(steps: int) -> float:
    """What the average keeps of itself at the update after `steps` steps, from 0 to 0.9999.

    It is 0 up to `LAST_COPY`, and 1 - (steps - 100)^(-2/3) from then on.
    """
    if steps <= LAST_COPY:
        return 0.0
    return min(MOST, 1 - (steps - WARM_UP) ** (-2 / 3))
