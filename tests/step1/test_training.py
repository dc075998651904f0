"""The batches of Step-1 against loops written from the text of the paper, and their losses."""

import math
from dataclasses import fields, replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.support.closure import ROOT
from tests.support.refs import refs_of
from tris_core.runtime import distributed
from tris_core.runtime.params import read_params
from tris_core.step1.losses import image_level_score
from tris_core.step1.negatives import POOL
from tris_core.step1.params import TrainStep1Params
from tris_core.step1.training import Step1Batch, Step1Batches, Step1Objective

PARAMS = read_params(ROOT / "presets" / "release-2024.yaml")[TrainStep1Params]


def with_negatives(**changes: object) -> TrainStep1Params:
    return PARAMS.model_copy(
        update={"cls_negatives": PARAMS.cls_negatives.model_copy(update=changes)}
    )


class Pictures:
    size = 8

    def __getitem__(self, rows: np.ndarray) -> Tensor:
        return torch.from_numpy(rows).to(torch.uint8).view(-1, 1, 1, 1).expand(-1, 8, 8, 3)


def batches(params: TrainStep1Params) -> Step1Batches:
    refs, tokens = refs_of([0, 0, 1, 2, 3, 3]), torch.arange(12 * 3).view(12, 3)
    return Step1Batches(Pictures(), refs, tokens, params, torch.device("cpu"))  # type: ignore[arg-type]


@pytest.mark.parametrize("source", ["batch", "dataset"])
def test_the_fields_of_a_batch_fit_together(source: str) -> None:
    params = with_negatives(source=source, n=5).model_copy(update={"batch": 3})
    made = batches(params)(7)
    refs = refs_of([0, 0, 1, 2, 3, 3])
    chosen = refs.batch(7, 3, params.seed)
    assert made.squares[:, 0, 0, 0].tolist() == refs.image[chosen].tolist()
    assert (made.own // 2).tolist() == chosen.tolist(), "two sentences a ref"
    assert made.tokens[:3, 0].tolist() == (3 * made.own).tolist()
    assert len(made.tokens) == (3 if source == "batch" else 6), (
        "all other refs: fewer than the pool"
    )
    assert made.columns[torch.arange(3), made.positive].tolist() == [0, 1, 2]
    assert made.negatives.shape == (3, params.cal_negatives.k)
    assert batches(params).describe(7) == f"ref_id {', '.join(str(100 + ref) for ref in chosen)}"


@pytest.mark.parametrize("source", ["batch", "dataset"])
def test_refs_of_an_image_share_it(source: str) -> None:
    params = with_negatives(source=source, n=5).model_copy(update={"batch": 4})
    alone = batches(params.model_copy(update={"share_images": False}))(0)
    shared = batches(params.model_copy(update={"share_images": True}))(0)
    refs = refs_of([0, 0, 1, 2, 3, 3])
    chosen = refs.batch(0, 4, params.seed, by_image=True)
    assert shared.image_of is not None
    pictures = shared.squares[:, 0, 0, 0]
    assert pictures.tolist() == sorted(set(refs.image[chosen].tolist()))
    assert pictures[shared.image_of].tolist() == refs.image[chosen].tolist()
    assert (shared.own // 2).tolist() == chosen.tolist()
    for field in fields(Step1Batch):
        if field.name not in ("squares", "image_of"):
            assert getattr(shared, field.name).shape == getattr(alone, field.name).shape


@pytest.mark.parametrize("source", ["batch", "dataset"])
def test_ranks_take_parts_of_one_and_the_same_batch(
    source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every rank scores the sentences that one process would score, on its images."""
    params = with_negatives(source=source, n=3).model_copy(update={"batch": 4})
    whole = batches(params)(2)
    parts = []
    for rank in (0, 1):
        half = slice(2 * rank, 2 * rank + 2)
        monkeypatch.setattr(distributed, "part", lambda count, half=half: half)
        parts.append(batches(params)(2))
    tokens = torch.cat([*(part.tokens[:2] for part in parts), parts[0].tokens[2:]])  # `gather`
    assert torch.equal(tokens, whole.tokens)
    for field in ("squares", "columns", "positive", "counted"):
        assert torch.equal(
            torch.cat([getattr(part, field) for part in parts]), getattr(whole, field)
        )
    for field in ("own", "negatives"):
        found = np.concatenate([getattr(part, field) for part in parts])
        np.testing.assert_array_equal(found, getattr(whole, field))


def test_the_pool_is_encoded_once_whatever_n_is() -> None:
    refs, tokens = refs_of(list(range(200))), torch.arange(400)[:, None]
    for n in (1, POOL, 60):
        params = with_negatives(source="dataset", n=n).model_copy(update={"batch": 4})
        made = Step1Batches(Pictures(), refs, tokens, params, torch.device("cpu"))(0)  # type: ignore[arg-type]
        assert len(made.tokens) == 4 + max(n, POOL)
        assert made.columns.shape == (4, 1 + n)


def test_a_batch_depends_on_its_step_alone() -> None:
    params = PARAMS.model_copy(update={"batch": 3})
    first, second = batches(params), batches(params)
    first(0)
    for field in fields(Step1Batch):
        one, two = getattr(first(5), field.name), getattr(second(5), field.name)
        np.testing.assert_array_equal(np.asarray(one), np.asarray(two))


class Respond(torch.nn.Module):
    """Responds to every sentence with its first token, everywhere on the image."""

    pixels = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)

    def encode_image(self, image: Tensor) -> Tensor:
        assert image.min() >= 0
        assert image.max() <= 1, "normalised as this CLIP asks for"
        return image[:, :1, :2, :2]

    def encode_text(self, tokens: Tensor) -> Tensor:
        return tokens[:, :1].float()

    def respond(self, vis_BCHW: Tensor, lan_BNC: Tensor) -> Tensor:
        return (0 * vis_BCHW + lan_BNC[..., None]) / 10


class See:
    """A scorer whose image feature is the mean response in both dimensions."""

    pixels = (0.5, 0.5, 0.5), (2.0, 2.0, 2.0)
    expected: Tensor

    def seen(self, image: Tensor, response_BHW: Tensor, mask: str) -> Tensor:
        assert mask == "sigmoid"
        assert torch.equal(self.expected, image), "normalised as this CLIP asks for"
        return response_BHW.mean((1, 2))[:, None].expand(-1, 2) / 10


@pytest.mark.parametrize("calibrated", [True, False])
def test_the_objective_weights_eq_7_and_eq_8(calibrated: bool) -> None:
    weights = {"cls": 5.0, "pos": 2.0 * calibrated, "neg": 3.0 * calibrated}
    loss = PARAMS.loss.model_copy(update=weights)
    params = PARAMS.model_copy(update={"batch": 3, "loss": loss})
    batch = batches(params)(0)
    sentences = torch.linspace(-0.5, 0.5, 24).view(12, 2)
    scorer = See()
    scorer.expected = ((batch.squares / 255 - 0.5) / 2).permute(0, 3, 1, 2)
    objective = Step1Objective(Respond(), scorer, sentences, params, torch.device("cpu"))  # type: ignore[arg-type]
    found = objective(batch)
    own = batch.tokens[:, 0].float() / 10
    scores = image_level_score(own.expand(3, 3)[..., None, None].expand(3, 3, 2, 2))
    cls = F.multilabel_soft_margin_loss(scores, torch.eye(3))
    expected = {"cls": cls.item()}
    if calibrated:
        seen = (own / 10).expand(2, 3).T
        positive = [float(seen[b] @ sentences[batch.own[b]]) for b in range(3)]
        expected["pos"] = -np.mean(
            [math.log(min(max(s, loss.eps), 1 - loss.eps)) for s in positive]
        )
        negative = [[float(seen[b] @ sentences[q]) for q in batch.negatives[b]] for b in range(3)]
        expected["neg"] = -np.mean(np.log(np.maximum(1 - np.array(negative), loss.eps)))
    assert found.keys() == {"total", *expected}
    for name, value in expected.items():
        assert found[name].item() == pytest.approx(value, rel=1e-5), name
    total = sum(weights[name] * value for name, value in expected.items())
    assert found["total"].item() == pytest.approx(total, rel=1e-5)


class RespondToBoth(Respond):
    """Responds to every sentence with its first token and to an image with its colour."""

    def respond(self, vis_BCHW: Tensor, lan_BNC: Tensor) -> Tensor:
        return vis_BCHW + lan_BNC[..., None] / 10


def test_a_shared_image_gives_the_losses_of_its_copies() -> None:
    shared = batches(PARAMS.model_copy(update={"batch": 4, "share_images": True}))(0)
    assert shared.image_of is not None
    copies = replace(shared, squares=shared.squares[shared.image_of], image_of=None)
    scorer, sentences = See(), torch.linspace(-0.5, 0.5, 24).view(12, 2)
    scorer.expected = ((copies.squares / 255 - 0.5) / 2).permute(0, 3, 1, 2)
    losses = Step1Objective(RespondToBoth(), scorer, sentences, PARAMS, torch.device("cpu"))  # type: ignore[arg-type]
    for name, loss in losses(shared).items():
        assert loss == losses(copies)[name], name
