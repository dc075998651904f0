"""Every network pass of every stage on a GPU that is not there."""

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensor

from benchmarks._fake import CUDA, REAL, Seen, fake_gpu
from benchmarks._inputs import Pictures
from benchmarks._networks import Networks, Training
from tris_core.baselines import DenseClip
from tris_core.crf.exact import ExactCRF
from tris_core.data.resize import bilinear
from tris_core.data.transforms import normalise
from tris_core.irn.backbone import boundaries
from tris_core.predict.predictor import DEMO, Predictor
from tris_core.prms.scores import cumulative_scores, similarities
from tris_core.refinement.instances import find_centroids
from tris_core.refinement.random_walk import walk
from tris_core.step1.inference import Respond
from tris_core.step1.network import build_step1
from tris_core.step2.inference import Predict
from tris_core.step2.network import build_step2
from tris_core.weights.configs import Step1Config, Step2Config
from tris_core.weights.model_folder import load_model

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not REAL and not torch.backends.cuda.is_built(), reason="this torch was built without CUDA"
    ),
]
only_fake = pytest.mark.skipif(bool(REAL), reason="real tensors have values")
IMAGE_OF = np.array([0, 0, 1, 2, 2])


@pytest.fixture(params=["shapes", "paper"])
def networks(request: pytest.FixtureRequest) -> Networks:
    return Networks(request.param, CUDA)


def losses(training: Training, batch: Any, seen: Seen) -> None:
    """The losses of two steps; what is copied once is not counted."""
    training.objective(batch)
    seen.clear()
    for name, loss in training.objective(batch).items():
        assert loss.device.type == CUDA.type, name
        assert loss.shape == (), name
        assert loss.dtype == torch.float32, name
    assert not seen.blocking, seen.blocking
    assert not seen.back, seen.back
    assert not seen.sorted, seen.sorted
    assert not seen.unrepeatable, seen.unrepeatable


def on_gpu(found: Tensor, *shape: int) -> None:
    assert REAL or isinstance(found, FakeTensor)
    assert found.device.type == CUDA.type
    assert found.shape == shape
    assert found.dtype == torch.float32


def test_step1_learns(networks: Networks) -> None:
    with fake_gpu() as seen:
        training = networks.step1_training()
        batch = training.batch(0)
        losses(training, batch, seen)
        tensors = 7 + (batch.image_of is not None)
        assert len(seen.copies) == tensors, "the tensors of the batch"


def test_step2_learns(networks: Networks) -> None:
    with fake_gpu() as seen:
        training = networks.step2_training()
        batch = training.batch(0)
        losses(training, batch, seen)
        tensors = 3 + (batch.image_of is not None)
        assert len(seen.copies) == tensors, "the tensors of the batch"


def test_the_boundary_network_learns(networks: Networks) -> None:
    with fake_gpu() as seen:
        training = networks.irn_training()
        losses(training, training.batch(0), seen)
        assert len(seen.copies) == 2, "the tensors of the batch"


def test_responses(networks: Networks) -> None:
    tokens, images = networks.sentences(5), Pictures(networks.size)
    with fake_gpu() as seen:
        model = networks.step1().eval()
        respond = Respond(model, images, IMAGE_OF, tokens, CUDA, "fp32")  # type: ignore[arg-type]
        side = networks.size // 32
        on_gpu(respond.maps(np.arange(5)), 5, side, side)
        assert not seen.sorted


def test_prms(networks: Networks) -> None:
    tokens = networks.sentences(4)
    with fake_gpu() as seen:
        scorer = networks.scorer()
        image = normalise(Pictures(networks.size)[np.zeros(4, int)].to(CUDA))
        maps = torch.empty(4, 10, 10, device=CUDA)
        similarity = similarities(scorer, image, maps, scorer.sentence(tokens.to(CUDA)), "relu")
        on_gpu(similarity, 4, 4)
        on_gpu(cumulative_scores(similarity, torch.zeros(4, device=CUDA)), 4)
        assert not seen.sorted


def test_refinement(networks: Networks) -> None:
    """Up to the labelling of centres, which is done on the host."""
    with fake_gpu() as seen:
        visual, irn = networks.irn()
        images = torch.empty(2, 3, 97, 130, device=CUDA)
        edges, displacements = boundaries(visual, irn.eval(), images)
        on_gpu(edges, 2, 25, 33)
        assert find_centroids(displacements).device.type == CUDA.type
        on_gpu(
            walk(torch.empty(6, 25, 33, device=CUDA), edges[0], radius=5, exp_times=8), 6, 25, 33
        )
        assert not seen.sorted


def test_the_exact_crf() -> None:
    image, masks = np.zeros((24, 31, 3), np.uint8), np.zeros((6, 24, 31), bool)
    with fake_gpu():
        crf = ExactCRF(image, iterations=3, gt_prob=0.7, device=CUDA)
        on_gpu(crf.odds(masks), 6, 24, 31)


def test_predictions(networks: Networks) -> None:
    tokens, images = networks.sentences(5), Pictures(networks.size)
    with fake_gpu() as seen:
        predict: Any = Predict(
            networks.step2().eval(), images, IMAGE_OF, tokens, lambda rows, logits: logits.shape,
            CUDA, "fp32",
        )  # type: ignore[arg-type]  # fmt: skip
        shapes = predict.one_batch(np.arange(5))
        assert [shape[0] for shape in shapes] == [2, 1, 2]
        assert not seen.sorted


def test_a_baseline(networks: Networks) -> None:
    tokens = networks.sentences(2)
    with fake_gpu():
        model = DenseClip(networks.clip(), "RN50").eval()
        image = normalise(Pictures(networks.size)[np.zeros(2, int)].to(CUDA))
        made = model.respond_pairs(model.encode_image(image), model.encode_text(tokens.to(CUDA)))
        on_gpu(made, 2, networks.size // 32, networks.size // 32)


def test_a_picture_is_marked() -> None:
    step1, step2 = DEMO
    models = (
        *load_model(step1, Step1Config, build_step1),
        *load_model(step2, Step2Config, build_step2),
    )
    picture = np.zeros((40, 50, 3), np.uint8)
    with fake_gpu():
        answers = Predictor(*models, CUDA).each(picture, ["red circle"])
        if REAL:
            assert next(answers).mask.shape == (40, 50)
            return
        with pytest.raises(DataDependentOutputException):  # the mask: the networks are behind us
            next(answers)


@only_fake
def test_what_does_not_repeat_is_found() -> None:
    with fake_gpu() as seen:
        x = torch.zeros(1, 2, 5, 5, device=CUDA)
        x.cumsum(dim=0)
        assert not seen.unrepeatable, "without a gradient"
        F.max_pool2d(x.requires_grad_(), 2)
        F.adaptive_avg_pool2d(x, 2)
        assert [name.split(".")[0] for name in seen.unrepeatable] == [
            "max_pool2d_with_indices", "_adaptive_avg_pool2d",
        ]  # fmt: skip


@only_fake
def test_hidden_copies_are_found() -> None:
    with fake_gpu() as seen:
        x = torch.zeros(4, 2, device=CUDA)
        x[torch.arange(2)]
        x * torch.tensor(2.0, device=CUDA)
        assert len(seen.blocking) == 2
        x.cpu()
        assert len(seen.back) == 1


@only_fake
def test_a_tensor_left_on_the_host_is_found() -> None:
    with fake_gpu(), pytest.raises(RuntimeError, match="device"):
        torch.zeros(3, device=CUDA) + torch.zeros(3)


@only_fake
def test_a_value_that_is_asked_for_is_found() -> None:
    with fake_gpu(), pytest.raises(DataDependentOutputException):
        torch.zeros(3, device=CUDA).sum().item()


@only_fake
def test_what_would_be_sorted_is_found() -> None:
    with fake_gpu() as seen:
        x = torch.zeros(1, 2, 5, 5, device=CUDA)
        bilinear(x, (9, 9), align_corners=False)
        assert not seen.sorted
        F.interpolate(x, (9, 9), mode="bilinear")
        assert seen.sorted
        seen.clear()
        x.max(dim=0)
        assert seen.sorted == ["max.dim"]


@only_fake
def test_a_copied_constant_is_found() -> None:
    with fake_gpu() as seen:
        torch.zeros(2, device=CUDA) + torch.tensor([1.0, 2.0], device=CUDA)
        assert len(seen.blocking) == 1
