"""The boundary network against the numbers of the released implementation."""

import json

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.golden.formula import weights
from tests.golden.reference import FOLDER, close, formula_input, golden
from tris_core.clip.imagenet import describe_imagenet
from tris_core.clip.sources import describe_clip, load_clip
from tris_core.irn.affinity import irn_losses
from tris_core.irn.backbone import (
    backbone_taps,
    boundaries,
    describe_irn,
    displacements,
    freeze_at_stride_16,
    load_backbone,
    padded_for,
)
from tris_core.irn.network import IRN, build_irn
from tris_core.weights.clip_spec import ClipPair, Text
from tris_core.weights.configs import IrnConfig

G = golden("irn_net")
KEYS = json.loads((FOLDER / "state_dict_shapes.json").read_text())["irn"]
STATE = {
    key.removeprefix("irn."): torch.from_numpy(np.asarray(value))
    for key, value in weights({"irn." + key: shape for key, shape in KEYS.items()}).items()
}


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> IrnConfig:
    """The boundary network on a ResNet-50 with formula weights, as `prepare_clip` finds it."""
    path = tmp_path_factory.mktemp("imagenet") / "resnet50.pth"
    backbone = {k.removeprefix("resnet50."): v for k, v in STATE.items() if k[:8] == "resnet50"}
    torch.save(backbone, path)
    demo, text = describe_clip("demo", None), Text(max_tokens=20, overflow="cut")
    imagenet = describe_imagenet(str(path))
    pair = ClipPair(backbone=demo, scorer=demo, text=text, imagenet=imagenet)
    return describe_irn(pair, "imagenet")


@pytest.fixture(scope="module")
def backbone(config: IrnConfig) -> nn.Module:
    return load_backbone(config)


@pytest.fixture
def head(config: IrnConfig) -> IRN:
    irn = build_irn(config)
    aliases = ("fc_dp7.4.running_mean",)
    state = {
        key: value
        for key, value in STATE.items()
        if not key.startswith("resnet50.") and key not in aliases
    }
    irn.load_state_dict(state, strict=True)
    irn.set_mean_shift(torch.from_numpy(G["mean_shift"]))
    return irn


@pytest.fixture(scope="module")
def taps(backbone: nn.Module) -> list[Tensor]:
    return backbone_taps(backbone, formula_input("irn.image", (2, 3, 128, 128)))


def test_eval_outputs_equal_the_release(head: IRN, taps: list[Tensor]) -> None:
    with torch.no_grad():
        edge_logits, displacement = head.eval()(taps)
    close(edge_logits, G["edge_logits"])
    close(displacement, G["displacement"])


def test_training_losses_equal_the_release(head: IRN, taps: list[Tensor]) -> None:
    losses = irn_losses(*head.train()(taps), torch.from_numpy(G["label"]), radius=10)
    names = {
        "affinity_positive": "pos_aff_loss",
        "affinity_negative": "neg_aff_loss",
        "displacement_fg": "dp_fg_loss",
        "displacement_bg": "dp_bg_loss",
        "total": "total_loss",
    }
    assert losses.keys() == names.keys()
    for ours, released in names.items():
        assert losses[ours].item() == pytest.approx(G[released].item(), rel=1e-4), ours


def test_every_parameter_learns_and_the_backbone_does_not(head: IRN, taps: list[Tensor]) -> None:
    irn = head.train()
    leaves = [tap.clone().requires_grad_() for tap in taps]
    irn_losses(*irn(leaves), torch.from_numpy(G["label"]), radius=10)["total"].backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in irn.parameters())
    assert all(leaf.grad is None for leaf in leaves)


def test_mean_shift_acts_in_eval_mode_only(head: IRN, taps: list[Tensor]) -> None:
    irn, mean = head, torch.tensor([3.0, -5.0])
    with torch.no_grad():
        plain = irn.train()(taps)[1]
        irn.set_mean_shift(mean)
        torch.testing.assert_close(irn.train()(taps)[1], plain)
        torch.testing.assert_close(irn.eval()(taps)[1], plain - mean.view(1, 2, 1, 1))
    assert irn.state_dict()["mean_shift.running_mean"].tolist() == mean.tolist()


SIZES = [(65, 98), (93, 126), (100, 71)]


@pytest.mark.parametrize("size", SIZES)
def test_an_image_is_not_padded_for_a_resnet(
    head: IRN, backbone: nn.Module, size: tuple[int, int]
) -> None:
    """The released inference, written again: odd sides, two views averaged."""
    image, irn = formula_input(f"irn.{size}", (3, *size)), head.eval()
    (edge,), (displacement,) = boundaries(backbone, irn, image[None])
    with torch.no_grad():
        logits, both = irn(backbone_taps(backbone, torch.stack([image, image.flip(-1)])))
    stride4 = (-(-size[0] // 4), -(-size[1] // 4))
    assert edge.shape == logits.shape[2:] == stride4
    torch.testing.assert_close(edge, torch.sigmoid(logits[0, 0] / 2 + logits[1, 0].flip(-1) / 2))
    torch.testing.assert_close(displacement, both[0])
    (alone,) = displacements(backbone, irn, image[None])
    torch.testing.assert_close(alone, displacement, rtol=1e-4, atol=1e-4)


def test_a_batch_has_the_boundaries_of_each_image(head: IRN, backbone: nn.Module) -> None:
    images, irn = formula_input("irn.batch", (3, 3, 65, 98)), head.eval()
    together = boundaries(backbone, irn, images)
    alone = [boundaries(backbone, irn, image[None]) for image in images]
    for found, expected in zip(together, zip(*alone, strict=True), strict=True):
        torch.testing.assert_close(found, torch.cat(expected), rtol=1e-4, atol=1e-4)


def test_a_clip_reads_multiples_of_16() -> None:
    visual = freeze_at_stride_16(load_clip(describe_clip("demo", None)).visual)
    image = torch.ones(1, 3, 65, 96)
    padded = padded_for(visual, image)
    assert padded.shape == (1, 3, 80, 96)
    assert torch.equal(padded[:, :, :65], image)
    assert padded[:, :, 65:].abs().max() == 0
    shapes = [tap.shape[2:] for tap in backbone_taps(visual, padded)]
    assert shapes == [(20, 24), (20, 24), (10, 12), (5, 6), (5, 6)]


def test_taps_are_torchvisions_stages_with_the_last_at_stride_16(
    backbone: nn.Module, taps: list[Tensor]
) -> None:
    assert [tap.shape[1] for tap in taps] == [64, 256, 512, 1024, 2048]
    assert [tap.shape[2] for tap in taps] == [32, 32, 16, 8, 8]
    norms = [module for module in backbone.modules() if isinstance(module, nn.BatchNorm2d)]
    assert len(norms) == 53
    assert not any(norm.training for norm in norms)
    assert not any(parameter.requires_grad for parameter in backbone.parameters())
