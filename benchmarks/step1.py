"""A training step of Step-1 as in the paper (RN50, batch 48, 320 px): ours, against the released recipe written plainly.

The plain step computes the attention pool that nobody asks for, encodes the masked images twice and the sentences of every
image in a loop, lets gradients flow to the frozen scorer's weights, and leaves weights in torch's own layout and memory to the
system's defaults, all in float32. Both are run on the same batch, and their losses compared. On a GPU ours is in bfloat16 and
compared with the plain one to two digits; the plain one stays in float32.
"""

from collections.abc import Callable
from copy import deepcopy

import numpy as np
import torch
import torch.nn.functional as F
from open_clip.model import CLIP
from open_clip.modified_resnet import AttentionPool2d
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import _inputs
from benchmarks._measure import ROOT, device, matmul_rate, row, seconds, show
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
from tris_core.step1.negatives import CalibrationNegatives
from tris_core.step1.network import Step1
from tris_core.step1.params import TrainStep1Params
from tris_core.step1.scorer import SentenceFeatures, masked_image
from tris_core.step1.training import step1_losses
from tris_core.training.loop import Losses
from tris_core.training.optimizers import adamw
from tris_core.training.samples import TrainingRefs

SIZE, SCORER_SIZE = 320, 224


def main() -> None:
    torch.manual_seed(0)
    precision = "bf16" if device().type == "cuda" else "fp32"
    params = read_params(ROOT / "presets" / "paper.yaml")[TrainStep1Params].model_copy(
        update={"precision": precision}
    )
    refs, pictures = _inputs.refs(4 * params.batch), _inputs.Pictures(SIZE)
    tokens = _inputs.sentences(int(refs.count.sum()))
    model, scorer = _inputs.step1().train(), _inputs.scorer()
    features = SentenceFeatures(scorer, tokens, device())
    ours = step1_losses(
        model, scorer, SCORER_SIZE, cast(Any, pictures), refs, tokens, features, params, device()
    )
    plain_model, plain_scorer = deepcopy(model), deepcopy(scorer).requires_grad_(True)
    for module in (plain_model, plain_scorer):
        module.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    plain = released_recipe(plain_model, plain_scorer, pictures, refs, tokens, params)
    with torch.no_grad():
        found, expected = ours(0), plain(0)
    for name, value in expected.items():
        assert torch.allclose(
            found[name], value, rtol=2e-2 if precision == "bf16" else 1e-4, atol=1e-4
        ), name
    plain_step = _inputs.training_step(adamw(plain_model, params), plain)
    twin = seconds(plain_step, repeats=1)
    keep_freed_memory()
    step = _inputs.training_step(adamw(model, params), ours)
    with FlopCounterMode(display=False) as counted:
        step()
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    spent = seconds(step, repeats=2, warm_up=False)
    show(
        [
            row(
                f"step1 batch {params.batch} {precision}", spent, twin=twin,
                floor=counted.get_total_flops() / matmul_rate(dtype),
                images_per_second=params.batch / spent, device=str(device()),
            )
        ]
    )  # fmt: skip


def released_recipe(
    model: Step1, scorer: CLIP, pictures: _inputs.Pictures, refs: TrainingRefs, tokens: Tensor,
    params: TrainStep1Params,
) -> Callable[[int], Losses]:  # fmt: skip
    """The losses of one step from the same draws, nothing looked up."""
    negatives = CalibrationNegatives(refs, params.cal_negatives.k, params.cal_negatives.fill)
    pool = AttentionPool2d(SIZE // 32, embed_dim=2048, num_heads=32, output_dim=1024).to(device())

    def encode(sentence: Tensor) -> Tensor:
        return F.normalize(
            sentence_feature(scorer, encode_words(scorer, sentence), sentence), dim=1
        )

    def losses(step: int) -> Losses:
        rng = np.random.default_rng([params.seed, 1, step])
        batch = refs.batch(step, params.batch, params.seed)
        text = refs.draw_text(batch, rng)
        fillers = negatives.draw(batch, rng)
        image = normalise(pictures[refs.image[batch]].to(device()))
        everyone = torch.arange(len(batch), device=device())
        lan = model.encode_text(tokens[text].to(device()))
        stage4 = stage_features(model.backbone.visual, image)[-1]
        pool(stage4)
        vis = F.normalize(model.vis_project(stage4), dim=1)
        response = model.respond(vis, lan.expand(len(batch), *lan.shape))
        own = response[everyone, everyone]
        score = image_level_score(response, **params.mask_size.model_dump())
        cls = classification_loss(score, everyone, torch.ones_like(score, dtype=torch.bool))
        masked = masked_image(image, own, size=SCORER_SIZE)
        positive = []
        for seen, sentence in zip(
            F.normalize(scorer.encode_image(masked), dim=1), tokens[text], strict=True
        ):
            positive.append((seen[None] * encode(sentence[None].to(device()))).sum())
        similarity = []
        for seen, rows in zip(
            F.normalize(scorer.encode_image(masked), dim=1), fillers, strict=True
        ):
            similarity.append(encode(tokens[rows].to(device())) @ seen)
        weights = params.loss
        parts = {
            "cls": cls,
            "pos": positive_term(torch.stack(positive), eps=weights.eps),
            "neg": negative_term(
                torch.stack(similarity), eps=weights.eps, reduction=weights.neg_reduction
            ),
        }
        return {
            "total": weights.cls * cls + weights.pos * parts["pos"] + weights.neg * parts["neg"],
            **parts,
        }

    return losses
