"""The networks and trainings of a preset at their full size, with random weights and data."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import pandas as pd
import torch
from open_clip.model import CLIP
from torch import Tensor, nn
from torchvision.models import resnet50

from benchmarks import _inputs
from benchmarks._measure import ROOT
from tris_core.clip.imagenet import RESNET50_CHANNELS
from tris_core.clip.names import find_config
from tris_core.clip.params import PrepareClipParams
from tris_core.clip.towers import build_backbone, build_clip, stage_channels
from tris_core.data.params import PackImagesParams
from tris_core.data.rle import encode
from tris_core.irn.backbone import freeze_at_stride_16
from tris_core.irn.network import IRN
from tris_core.irn.params import TrainIrnParams
from tris_core.irn.training import CropBatch, IrnObjective, sgd
from tris_core.runtime.device import place
from tris_core.runtime.params import Precision, Section, read_params
from tris_core.step1.network import Step1
from tris_core.step1.params import TrainStep1Params
from tris_core.step1.scorer import Scorer, SentenceFeatures
from tris_core.step1.training import Step1Batches, Step1Objective
from tris_core.step2.network import Step2
from tris_core.step2.params import TrainStep2Params
from tris_core.step2.training import Step2Batches, Step2Objective, TrainingLabels
from tris_core.training.optimizers import adamw
from tris_core.weights.configs import Step1Model

PRESETS = ROOT / "presets"
T = TypeVar("T", bound=Section)


@dataclass(frozen=True)
class Training:
    """A training: its losses, the batch of a step, and its optimizer."""

    objective: nn.Module
    batch: Callable[[int], Any]
    optimizer: torch.optim.Optimizer
    images: int

    def trained(self) -> list[nn.Parameter]:
        """The parameters that learn."""
        return [p for group in self.optimizer.param_groups for p in group["params"]]

    def step(self, batch: Any) -> Tensor:
        """One step; returns the loss."""
        total: Tensor = self.objective(batch)["total"]
        self.optimizer.zero_grad(set_to_none=True)
        total.backward()
        self.optimizer.step()
        return total


class Networks:
    """The networks of a preset on a device. Each call makes new ones."""

    def __init__(
        self,
        preset: str,
        device: torch.device,
        *,
        precision: Precision = "fp32",
        batch: int | None = None,
    ) -> None:
        """`batch` replaces the preset's own batch sizes."""
        self._params = read_params(PRESETS / f"{preset}.yaml")
        self.device, self.precision = device, precision
        self.size = self._params[PackImagesParams].side
        clips = self._params[PrepareClipParams]
        self._backbone, _ = find_config(clips.backbone, clips.backbone_weights)
        self._scorer, _ = find_config(clips.scorer, clips.scorer_weights)
        self._channels = stage_channels(self._backbone)
        self._batch = batch
        self._imagenet = self._params[TrainIrnParams].backbone == "imagenet"

    def step1(self) -> Step1:
        params, clip = self._params[TrainStep1Params], self._backbone
        model = Step1Model(
            visual_channels=self._channels[-1], text_channels=clip.embed_dim, hidden=params.hidden,
            alpha=params.prompt.alpha, beta=params.prompt.beta,
            temperature=params.temperature.init, learn_temperature=False,
        )  # fmt: skip
        return place(Step1(build_backbone(clip), model), self.device)

    def clip(self) -> CLIP:
        """The backbone, whole."""
        return place(build_clip(self._backbone), self.device)

    def scorer(self) -> Scorer:
        size = self._scorer.vision_cfg.image_size
        assert isinstance(size, int)
        return Scorer(place(build_clip(self._scorer), self.device), size)

    def step2(self) -> Step2:
        c1, c2, c3, c4 = self._channels[1:]
        model = Step2(
            build_backbone(self._backbone),
            stage_channels=(c1, c2, c3, c4),
            text_width=self._backbone.text_cfg.width,
            width=self._params[TrainStep2Params].width,
        )
        return place(model, self.device)

    def irn(self) -> tuple[nn.Module, IRN]:
        """The frozen backbone and the boundary network."""
        visual = resnet50() if self._imagenet else build_clip(self._backbone).visual
        channels = RESNET50_CHANNELS if self._imagenet else self._channels
        c0, c1, c2, c3, c4 = channels
        irn = IRN(channels=(c0, c1, c2, c3, c4))
        return place(freeze_at_stride_16(visual), self.device), place(irn, self.device)

    def step1_training(self) -> Training:
        params = self._own(TrainStep1Params)
        refs = _inputs.refs(4 * params.batch)
        tokens = self.sentences(int(refs.count.sum()))
        images: Any = _inputs.Pictures(self.size)
        model, scorer = self.step1().train(), self.scorer()
        features = SentenceFeatures(scorer, tokens, self.device)
        return Training(
            Step1Objective(model, scorer, features, params, self.device),
            Step1Batches(images, refs, tokens, params, self.device),
            adamw(model, params),
            params.batch,
        )

    def step2_training(self) -> Training:
        params = self._own(TrainStep2Params)
        refs = _inputs.refs(4 * params.batch)
        tokens = self.sentences(int(refs.count.sum()))
        images: Any = _inputs.Pictures(self.size)
        mask = np.zeros((48, 64), dtype=bool)
        mask[10:30, 20:40] = True
        table = pd.DataFrame({"counts": [encode(mask)] * len(refs), "height": 48, "width": 64})
        labels = TrainingLabels(table, self.size)
        model = self.step2().train()
        return Training(
            Step2Objective(model, None, params, self.device),
            Step2Batches(images, refs, labels, tokens, params, self.device),
            adamw(model, params, full_rate="positional_embedding"),
            params.batch,
        )

    def irn_training(self) -> Training:
        params = self._params[TrainIrnParams]
        crops = random_crops(self._batch or params.batch, params.crop)
        visual, irn = self.irn()
        objective = IrnObjective(visual, irn.train(), params.radius, self.device)
        return Training(objective, lambda step: crops, sgd(irn, params), len(crops.seeds))

    def sentences(self, number: int) -> Tensor:
        """Random token ids (number, T) with start and end, within both vocabularies."""
        words = min(clip.text_cfg.vocab_size for clip in (self._backbone, self._scorer))
        tokens = torch.randint(1, words - 2, (number, self._params[PrepareClipParams].max_tokens))
        tokens[:, 0], tokens[:, -1] = words - 2, words - 1
        return tokens.int()

    def _own(self, section: type[T]) -> T:
        """A training's parameters with this precision and batch."""
        changes: dict[str, Any] = {"precision": self.precision}
        if self._batch is not None:
            changes["batch"] = self._batch
        return self._params[section].model_copy(update=changes)


def random_crops(batch: int, crop: int) -> CropBatch:
    """Noise, with seeds at stride 4 in blocks of 8 cells."""
    cells = crop // 4
    blocks = torch.randint(0, 2, (batch, -(-cells // 8), -(-cells // 8)), dtype=torch.uint8)
    seeds = blocks.repeat_interleave(8, 1).repeat_interleave(8, 2)[:, :cells, :cells]
    pictures = torch.randint(0, 256, (batch, crop, crop, 3), dtype=torch.uint8)
    return CropBatch(pictures=pictures, seeds=seeds.contiguous())
