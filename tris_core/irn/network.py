"""Boundary and displacement network of IRN (Ahn et al., CVPR 2019).

Two heads on the taps of a frozen backbone. Parameter names are those of the released checkpoints
without `resnet50.`. Their `fc_dp7.4.running_mean` is the buffer `mean_shift.running_mean` again,
and is left out. See docs/paper_vs_code.md#irn.
Shapes: B images, (h, w) the stride-4 map of the first tap.
"""

import torch
from torch import Tensor, nn

from tris_core.data.resize import bilinear
from tris_core.weights.configs import IrnConfig

EDGE_WIDTH = 32


class MeanShift(nn.Module):
    """Subtracts a stored mean (C,) from (B, C, h, w) in eval mode. The identity in training."""

    running_mean: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("running_mean", torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        return x if self.training else x - self.running_mean.view(1, -1, 1, 1)


class Upsample(nn.Module):
    """Bilinear, by a whole factor."""

    def __init__(self, scale: int) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[2:]
        return bilinear(x, (self.scale * height, self.scale * width), align_corners=False)


class IRN(nn.Module):
    """Class-boundary logits and displacements towards instance centres.

    `channels` are those of the five taps (stem, layer1 .. layer4) at strides 4, 4, 8, 16 and 16.
    The edge branch concatenates all five at stride 4. The displacement branch concatenates the
    last three at stride 8 and up-samples them to stride 4, where the first two join.
    """

    def __init__(self, *, channels: tuple[int, int, int, int, int]) -> None:
        super().__init__()
        stem, layer1, layer2, layer3, layer4 = channels
        self.fc_edge1 = _branch(stem, EDGE_WIDTH, groups=4)
        self.fc_edge2 = _branch(layer1, EDGE_WIDTH, groups=4)
        self.fc_edge3 = _branch(layer2, EDGE_WIDTH, groups=4, scale=2)
        self.fc_edge4 = _branch(layer3, EDGE_WIDTH, groups=4, scale=4)
        self.fc_edge5 = _branch(layer4, EDGE_WIDTH, groups=4, scale=4)
        self.fc_edge6 = nn.Conv2d(5 * EDGE_WIDTH, 1, 1)

        self.fc_dp1 = _branch(stem, 64, groups=8)
        self.fc_dp2 = _branch(layer1, 128, groups=16)
        self.fc_dp3 = _branch(layer2, 256, groups=16)
        self.fc_dp4 = _branch(layer3, 256, groups=16, scale=2)
        self.fc_dp5 = _branch(layer4, 256, groups=16, scale=2)
        self.fc_dp6 = _branch(3 * 256, 256, groups=16, scale=2)
        self.fc_dp7 = nn.Sequential(
            *_branch(64 + 128 + 256, 256, groups=16), nn.Conv2d(256, 2, 1, bias=False)
        )
        self.mean_shift = MeanShift(2)

    def forward(self, taps: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Compute boundary logits (B, 1, h, w) and displacements (B, 2, h, w).

        Displacements are (dy, dx) in stride-4 pixels. `taps` are five maps (B, C_i, h_i, w_i);
        they are detached, so that no gradient reaches the backbone.
        """
        x1, x2, x3, x4, x5 = (tap.detach() for tap in taps)
        edges = [
            self.fc_edge1(x1),
            self.fc_edge2(x2),
            self.fc_edge3(x3),
            self.fc_edge4(x4),
            self.fc_edge5(x5),
        ]
        edge_logits: Tensor = self.fc_edge6(_join(edges))

        top = self.fc_dp6(_join([self.fc_dp3(x3), self.fc_dp4(x4), self.fc_dp5(x5)]))
        displacement: Tensor = self.mean_shift(
            self.fc_dp7(_join([self.fc_dp1(x1), self.fc_dp2(x2), top]))
        )
        return edge_logits, displacement

    def set_mean_shift(self, mean: Tensor) -> None:
        """Store the mean displacement (2,) of the training images, measured with a mean of 0."""
        self.mean_shift.running_mean.copy_(mean)


def _branch(inputs: int, outputs: int, *, groups: int, scale: int = 1) -> nn.Sequential:
    """1x1 convolution, group norm, bilinear up-sampling by `scale`, ReLU."""
    layers: list[nn.Module] = [
        nn.Conv2d(inputs, outputs, 1, bias=False),
        nn.GroupNorm(groups, outputs),
    ]
    if scale > 1:
        layers.append(Upsample(scale))
    return nn.Sequential(*layers, nn.ReLU())


def _join(maps: list[Tensor]) -> Tensor:
    """Concatenate channels. Up-sampled maps larger than the first are cropped to it."""
    height, width = maps[0].shape[-2:]
    return torch.cat([m[..., :height, :width] for m in maps], dim=1)


def build_irn(config: IrnConfig) -> IRN:
    """The boundary network with random weights."""
    c1, c2, c3, c4, c5 = config.model.channels
    return IRN(channels=(c1, c2, c3, c4, c5))
