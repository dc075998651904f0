"""The boundary network against the numbers of the released implementation."""

import json

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torchvision.models import resnet50
from torchvision.models.resnet import ResNet

from tests.golden.formula import weights
from tests.golden.reference import FOLDER, close, formula_input, golden
from tris_core.irn.affinity import irn_losses
from tris_core.irn.network import IRN

G = golden("irn_net")
KEYS = json.loads((FOLDER / "state_dict_shapes.json").read_text())["irn"]
STATE = {
    key.removeprefix("irn."): torch.from_numpy(np.asarray(value))
    for key, value in weights({"irn." + key: shape for key, shape in KEYS.items()}).items()
}


def head() -> IRN:
    irn = IRN(channels=(64, 256, 512, 1024, 2048))
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
def backbone() -> ResNet:
    """A frozen ResNet-50 with formula weights; its last stage keeps stride 16."""
    net = resnet50(weights=None)
    net.fc = nn.Identity()
    net.load_state_dict(
        {k.removeprefix("resnet50."): v for k, v in STATE.items() if k.startswith("resnet50.")}
    )
    for conv in (net.layer4[0].conv2, net.layer4[0].downsample[0]):
        conv.stride = (1, 1)
    return net.eval()


def run_backbone(net: ResNet, image: Tensor) -> list[Tensor]:
    taps = [net.maxpool(net.relu(net.bn1(net.conv1(image))))]
    for stage in (net.layer1, net.layer2, net.layer3, net.layer4):
        taps.append(stage(taps[-1]))
    return taps


@pytest.fixture(scope="module")
def taps(backbone: ResNet) -> list[Tensor]:
    with torch.no_grad():
        return run_backbone(backbone, formula_input("irn.image", (2, 3, 128, 128)))


def test_eval_outputs_equal_the_release(taps: list[Tensor]) -> None:
    irn = head().eval()
    with torch.no_grad():
        edge_logits, displacement = irn(taps)
    close(edge_logits, G["edge_logits"])
    close(displacement, G["displacement"])


def test_training_losses_equal_the_release(taps: list[Tensor]) -> None:
    irn = head().train()
    losses = irn_losses(*irn(taps), torch.from_numpy(G["label"]), radius=10)
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


def test_every_parameter_learns_and_the_backbone_does_not(taps: list[Tensor]) -> None:
    irn = head().train()
    leaves = [tap.clone().requires_grad_() for tap in taps]
    irn_losses(*irn(leaves), torch.from_numpy(G["label"]), radius=10)["total"].backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in irn.parameters())
    assert all(leaf.grad is None for leaf in leaves)


def test_mean_shift_acts_in_eval_mode_only(taps: list[Tensor]) -> None:
    irn, mean = head(), torch.tensor([3.0, -5.0])
    with torch.no_grad():
        plain = irn.train()(taps)[1]
        irn.set_mean_shift(mean)
        torch.testing.assert_close(irn.train()(taps)[1], plain)
        torch.testing.assert_close(irn.eval()(taps)[1], plain - mean.view(1, 2, 1, 1))
    assert irn.state_dict()["mean_shift.running_mean"].tolist() == mean.tolist()


@pytest.mark.parametrize("size", [(65, 98), (93, 126), (100, 71)])
def test_odd_sizes_are_cropped_to_the_first_tap(backbone: ResNet, size: tuple[int, int]) -> None:
    with torch.no_grad():
        taps = run_backbone(backbone, torch.zeros(1, 3, *size))
        edge_logits, displacement = head().eval()(taps)
    stride4 = (-(-size[0] // 4), -(-size[1] // 4))
    assert edge_logits.shape == (1, 1, *stride4)
    assert displacement.shape == (1, 2, *stride4)
