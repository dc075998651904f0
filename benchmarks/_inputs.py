"""Full-size networks with random weights, and random images and sentences for them."""

from collections.abc import Callable
from itertools import count
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from open_clip import get_model_config
from open_clip.model import CLIP
from torch import Tensor

from benchmarks._measure import device
from tris_core.clip.towers import build_backbone, build_clip
from tris_core.runtime.device import place
from tris_core.runtime.threads import prefetch
from tris_core.step1.network import Step1
from tris_core.step1.scorer import Scorer
from tris_core.step2.network import Step2
from tris_core.training.samples import TrainingRefs
from tris_core.training.task import Losses
from tris_core.weights.clip_spec import ClipConfig
from tris_core.weights.configs import Step1Model

TOKENS = 20


class Pictures:
    """Replaces `PackedImages`: the same random square for every row."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._square = torch.randint(0, 256, (1, size, size, 3), dtype=torch.uint8)

    def __getitem__(self, rows: NDArray[np.int64]) -> Tensor:
        return self._square.expand(len(rows), -1, -1, -1)


def clip(name: str) -> CLIP:
    return build_clip(ClipConfig.model_validate(get_model_config(name)))


def backbone() -> CLIP:
    """The paper's, as Step-1 and Step-2 hold it."""
    return build_backbone(ClipConfig.model_validate(get_model_config("RN50-quickgelu")))


def step1() -> Step1:
    """Step-1 as in the paper: RN50, 1,024 hidden channels."""
    paper = Step1Model(
        visual_channels=2048, text_channels=1024, hidden=1024,
        alpha=0.1, beta=0.1, temperature=0.07, learn_temperature=False,
    )  # fmt: skip
    return place(Step1(backbone(), paper), device())


def step2() -> Step2:
    """Step-2 as in the paper: RN50, a decoder of width 64."""
    model = Step2(backbone(), stage_channels=(256, 512, 1024, 2048), text_width=512, width=64)
    return place(model, device())


def scorer() -> Scorer:
    """The paper's auxiliary CLIP."""
    return Scorer(place(clip("ViT-B-32-quickgelu"), device()), size=224)


class TrainingStep:
    """A step as in `fit`, on the next batch at each call."""

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        batch: Callable[[int], Any],
        losses: Callable[[Any], Losses],
    ) -> None:
        self._optimizer, self._losses = optimizer, losses
        self._batches = prefetch(batch, count())

    def __call__(self) -> None:
        total = self._losses(next(self._batches))["total"]
        self._optimizer.zero_grad(set_to_none=True)
        total.backward()
        self._optimizer.step()


def sentences(number: int) -> Tensor:
    """Random token ids (number, 20) with start and end."""
    tokens = torch.randint(1, 49000, (number, TOKENS))
    tokens[:, 0], tokens[:, -1] = 49406, 49407
    return tokens


def refs(number: int, *, per_image: int = 2, per_ref: int = 2) -> TrainingRefs:
    """`number` refs, `per_image` on each image, with `per_ref` sentences each."""
    rows = np.arange(number)
    each = np.full(number, per_ref)
    sentences = np.arange(number * per_ref, dtype=np.uint64)
    return TrainingRefs(rows, rows // per_image, rows, rows * per_ref, each, sentences)
