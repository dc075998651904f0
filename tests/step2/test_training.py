"""Step-2: batches, optimizer groups and the consistency term."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn

from tests.support.closure import ROOT
from tests.support.refs import refs_of
from tris_core.data.rle import encode
from tris_core.runtime.params import read_params
from tris_core.step2.average import RunningAverage
from tris_core.step2.params import TrainStep2Params
from tris_core.step2.training import Step2Batches, Step2Objective, TrainingLabels
from tris_core.training.optimizers import adamw

PARAMS = read_params(ROOT / "presets" / "release-2024.yaml")[TrainStep2Params]
PARAMS = PARAMS.model_copy(update={"batch": 16, "ema": "none"})
SIZE, CPU = 8, torch.device("cpu")


class Tiny(nn.Module):
    """Four heads of one convolution; the sentence's tokens shift them."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Module()
        self.backbone.register_parameter("weight", nn.Parameter(torch.ones(1)))
        self.backbone.register_parameter("positional_embedding", nn.Parameter(torch.zeros(1)))
        self.heads = nn.Conv2d(3, 4, 1)
        self.pixels = None

    def forward(
        self, image: Tensor, tokens: Tensor, image_of: Tensor | None = None
    ) -> list[Tensor]:
        shift = tokens.float().mean(1)[:, None, None, None] * self.backbone.positional_embedding
        return list((self.heads(image * self.backbone.weight) + shift).split(1, dim=1))


class Pictures:
    size = SIZE

    def __getitem__(self, rows: np.ndarray) -> Tensor:
        drawn = [np.random.default_rng(row).integers(0, 255, (SIZE, SIZE, 3)) for row in rows]
        return torch.from_numpy(np.stack(drawn)).to(torch.uint8)


def batches(params: TrainStep2Params = PARAMS, images: Sequence[int] = range(20)) -> Step2Batches:
    refs = refs_of(list(images))
    mask = encode(np.eye(SIZE, dtype=bool))
    labels = pd.DataFrame({"counts": [mask] * 20, "height": SIZE, "width": SIZE})
    tokens = torch.arange(2 * len(refs) * 3).view(-1, 3)
    return Step2Batches(Pictures(), refs, TrainingLabels(labels, SIZE), tokens, params, CPU)  # type: ignore[arg-type]


def objective(model: Tiny, average: object) -> Step2Objective:
    return Step2Objective(model, average, PARAMS, CPU)  # type: ignore[arg-type]


def test_a_batch_has_a_sentence_and_the_label_of_each_ref() -> None:
    batch = batches()(7)
    chosen = refs_of(list(range(20))).batch(7, PARAMS.batch, PARAMS.seed)
    assert batch.step == 7
    assert (batch.tokens[:, 0] // 6).tolist() == chosen.tolist(), "two sentences of three tokens"
    assert batch.labels.dtype == torch.uint8
    assert torch.equal(batch.labels, torch.eye(SIZE).expand(len(chosen), 1, SIZE, SIZE))
    assert torch.equal(batches()(7).squares, batch.squares)
    assert batches().describe(7) == f"ref_id {', '.join(str(100 + ref) for ref in chosen)}"


def test_refs_of_an_image_share_it() -> None:
    shared = PARAMS.model_copy(update={"share_images": True})
    images = [row // 4 for row in range(20)]
    made, draw = batches(shared, images)(7), refs_of(images)
    chosen = draw.batch(7, PARAMS.batch, PARAMS.seed, by_image=True)
    assert made.image_of is not None
    assert len(made.squares) == len(set(draw.image[chosen].tolist())) < len(chosen)
    expected = Pictures()[draw.image[chosen]]
    assert torch.equal(made.squares[made.image_of], expected)
    assert (made.tokens[:, 0] // 6).tolist() == chosen.tolist()
    assert batches().describe(7) != batches(shared, images).describe(7)


@pytest.mark.parametrize("size", [8, 30])
def test_labels_are_resized_to_the_nearest_pixel(size: int) -> None:
    rng = np.random.default_rng(0)
    masks = [rng.random(shape) < 0.4 for shape in ((30, 47), (61, 20), (size, size))]
    rows = [{"counts": encode(m), "height": m.shape[0], "width": m.shape[1]} for m in masks]
    labels = TrainingLabels(pd.DataFrame(rows), size)[np.array([2, 0, 1, 0])]
    assert labels.shape == (4, 1, size, size)
    for label, number in zip(labels, [2, 0, 1, 0], strict=True):
        height, width = masks[number].shape
        y, x = (np.arange(size) * side // size for side in (height, width))
        assert np.array_equal(label[0].numpy(), masks[number][np.ix_(y, x)])


def test_positional_embeddings_learn_at_the_full_rate() -> None:
    model = Tiny()
    slow, full = adamw(model, PARAMS, full_rate="positional_embedding").param_groups
    assert [id(p) for p in slow["params"]] == [id(model.backbone.weight)]
    assert {id(p) for p in full["params"]} == {
        id(model.backbone.positional_embedding),
        *map(id, model.heads.parameters()),
    }
    assert slow["lr"] == pytest.approx(full["lr"] * PARAMS.backbone_lr_mult)
    together, _ = adamw(model, PARAMS).param_groups
    assert len(together["params"]) == 2


def test_consistency_term_is_the_distance_to_the_average() -> None:
    model = Tiny()
    losses, batch = objective(model, RunningAverage(model)), batches()  # type: ignore[arg-type]
    assert losses(batch(3))["ema"].item() == 0
    with torch.no_grad():
        model.heads.bias += 2.0
    parts = losses(batch(3))
    assert parts["ema"].item() > 0.01
    heads = sum(parts[f"head{i}"].item() for i in range(1, 5))
    assert parts["total"].item() == pytest.approx(heads + parts["ema"].item(), rel=1e-6)
    assert losses(batch(100))["ema"].item() > 0.01, "no update is due"
    assert losses(batch(101))["ema"].item() == 0, "the weights are copied before they are compared"
    assert "ema" not in objective(model, None)(batch(3))
