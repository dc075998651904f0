"""A training step of Step-1 as in the paper (RN50, batch 48, 320 px).

The plain twin is the released recipe: it computes the attention pool that nobody uses, encodes the
masked images twice and the sentences of every image in a loop, lets gradients flow to the frozen
scorer's weights, and leaves memory layouts to torch, all in float32. Both see the same batch, and
their losses are compared. On a GPU ours runs in bfloat16 and agrees to two digits.
"""

from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from open_clip.modified_resnet import AttentionPool2d
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import _inputs
from benchmarks._measure import ROOT, device, matmul_rate, row, seconds, show
from benchmarks._networks import Networks
from tris_core.clip.towers import encode_words, sentence_feature, stage_features
from tris_core.data.transforms import normalise
from tris_core.runtime.params import read_params
from tris_core.runtime.processes import keep_freed_memory
from tris_core.step1.losses import (
    classification_loss,
    image_level_score,
    negative_term,
    positive_term,
)
from tris_core.step1.network import Step1
from tris_core.step1.params import TrainStep1Params
from tris_core.step1.scorer import Scorer, SentenceFeatures, masked_image
from tris_core.step1.training import Step1Batch, Step1Batches, Step1Objective
from tris_core.training.optimizers import adamw
from tris_core.training.task import Losses

SIZE = 320


def main() -> None:
    torch.manual_seed(0)
    precision = "bf16" if device().type == "cuda" else "fp32"
    params = read_params(ROOT / "presets" / "paper.yaml")[TrainStep1Params].model_copy(
        update={"precision": precision}
    )
    networks, refs = Networks("paper", device()), _inputs.refs(4 * params.batch)
    images: Any = _inputs.Pictures(SIZE)
    tokens = networks.sentences(int(refs.count.sum()))
    batches = Step1Batches(images, refs, tokens, params, device())

    model, scorer = networks.step1().train(), networks.scorer()
    sentences = SentenceFeatures(scorer, tokens, device())
    ours = Step1Objective(model, scorer, sentences, params, device())
    pool = AttentionPool2d(SIZE // 32, embed_dim=2048, num_heads=32, output_dim=1024)
    twin = ReleasedRecipe(deepcopy(model), deepcopy(scorer), pool.to(device()), tokens, params)
    twin.scorer.clip.requires_grad_(True)
    for module in (twin.model, twin.scorer.clip):
        module.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    check(ours, twin, batches(0))

    spent_twin = seconds(_inputs.TrainingStep(adamw(twin.model, params), batches, twin), repeats=1)
    keep_freed_memory()
    step = _inputs.TrainingStep(adamw(model, params), batches, ours)
    with FlopCounterMode(display=False) as counted:
        step()
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    floor = counted.get_total_flops() / matmul_rate(dtype)
    spent = seconds(step, repeats=2, warm_up=False)
    name, rate = f"step1 batch {params.batch} {precision}", params.batch / spent
    where = str(device())
    show([row(name, spent, twin=spent_twin, floor=floor, images_per_second=rate, device=where)])


@torch.no_grad()
def check(ours: Step1Objective, twin: "ReleasedRecipe", batch: Step1Batch) -> None:
    found, expected = ours(batch), twin(batch)
    rtol = 2e-2 if ours.params.precision == "bf16" else 1e-4
    for name, value in expected.items():
        assert torch.allclose(found[name], value, rtol=rtol, atol=1e-4), name


@dataclass(frozen=True)
class ReleasedRecipe:
    """The losses of the same batch, as the release computes them. Nothing is looked up."""

    model: Step1
    scorer: Scorer
    pool: nn.Module
    tokens: Tensor
    params: TrainStep1Params

    def __call__(self, batch: Step1Batch) -> Losses:
        batch, weights = batch.to(device()), self.params.loss
        image = normalise(batch.squares)
        everyone = torch.arange(len(image), device=device())
        lan = self.model.encode_text(batch.tokens)
        stage4 = stage_features(self.model.backbone.visual, image)[-1]
        self.pool(stage4)
        vis = F.normalize(self.model.vis_project(stage4), dim=1)
        response = self.model.respond(vis, lan.expand(len(image), *lan.shape))
        own = response[everyone, everyone]
        score = image_level_score(response, **self.params.mask_size.model_dump())
        counted = torch.ones_like(score, dtype=torch.bool)
        cls = classification_loss(score, everyone, counted)
        masked = masked_image(image, own, self.scorer.size, "sigmoid")
        positive = torch.stack(
            [
                (seen[None] * self._sentences(batch.own[i : i + 1])).sum()
                for i, seen in enumerate(self._seen(masked))
            ]
        )
        negative = torch.stack(
            [
                self._sentences(rows) @ seen
                for seen, rows in zip(self._seen(masked), batch.negatives, strict=True)
            ]
        )
        pos = positive_term(positive, eps=weights.eps)
        neg = negative_term(negative, eps=weights.eps, reduction=weights.neg_reduction)
        total = weights.cls * cls + weights.pos * pos + weights.neg * neg
        return {"total": total, "cls": cls, "pos": pos, "neg": neg}

    def _seen(self, masked: Tensor) -> Tensor:
        return F.normalize(self.scorer.clip.encode_image(masked), dim=1)

    def _sentences(self, rows: Tensor) -> Tensor:
        tokens, clip = self.tokens[rows.cpu()].to(device()), self.scorer.clip
        return F.normalize(sentence_feature(clip, encode_words(clip, tokens), tokens), dim=1)
