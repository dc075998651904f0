"""Recomputed blocks give the same numbers from less memory."""

import copy

import pytest
import torch
from torch import Tensor

from tests.support.tiny_models import SIZE, step1_config
from tris_core.clip.recompute import recompute_blocks
from tris_core.step1.network import Step1, build_step1


@pytest.fixture
def networks() -> tuple[Step1, Step1]:
    torch.manual_seed(0)
    plain = build_step1(step1_config()).train()
    recomputed = copy.deepcopy(plain)
    recompute_blocks(recomputed)
    return plain, recomputed


def step(network: Step1) -> tuple[Tensor, int]:
    """The response of a batch with its gradients made, and the bytes kept for these."""
    generator = torch.Generator().manual_seed(1)
    image = torch.rand(4, 3, SIZE, SIZE, generator=generator)
    tokens = torch.randint(1, 9, (4, 8), generator=generator)
    kept: dict[int, int] = {}

    def keep(x: Tensor) -> Tensor:
        kept[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes()
        return x

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
        response = network.respond_pairs(network.encode_image(image), network.encode_text(tokens))
    response.square().mean().backward()
    return response.detach(), sum(kept.values())


def test_the_numbers_are_the_same_and_less_is_kept(networks: tuple[Step1, Step1]) -> None:
    plain, recomputed = networks
    (expected, all_kept), (found, few_kept) = step(plain), step(recomputed)
    assert torch.equal(found, expected)
    assert few_kept < 0.8 * all_kept
    for (name, one), (_, other) in zip(
        plain.named_parameters(), recomputed.named_parameters(), strict=True
    ):
        assert (one.grad is None) == (other.grad is None), name
        if one.grad is not None and other.grad is not None:
            assert torch.equal(one.grad, other.grad), name
    for name, value in plain.state_dict().items():
        assert torch.equal(recomputed.state_dict()[name], value), name
    assert plain.backbone.visual.bn1.num_batches_tracked == 1
    block = recomputed.backbone.visual.layer1[0]
    assert block.bn1.num_batches_tracked == 1


def test_a_copy_recomputes_its_own_blocks(networks: tuple[Step1, Step1]) -> None:
    _, original = networks
    twin = copy.deepcopy(original)
    step(twin)
    assert twin.backbone.visual.layer1[0].bn1.num_batches_tracked == 1
    assert original.backbone.visual.layer1[0].bn1.num_batches_tracked == 0
    assert all(parameter.grad is None for parameter in original.parameters())


def test_without_gradients_nothing_changes(networks: tuple[Step1, Step1]) -> None:
    image = torch.rand(1, 3, SIZE, SIZE)
    with torch.no_grad():
        one, other = (network.eval().encode_image(image) for network in networks)
    assert torch.equal(one, other)
