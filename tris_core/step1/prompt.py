"""Bilateral prompt (Sec. 3.2, Fig. 3): each modality is enriched by the other.

Shapes: B images, N expressions scored on each image, C = C_d channels, H W the stride-32 map.
Parameter names follow the paper's weights: `v_proj1..3` are W^v_1..3, `t_proj1..3` are W^l_1..3.
"""

import math

import torch
from torch import Tensor, nn


def visual_projection(channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, channels, 1), nn.InstanceNorm2d(channels, affine=True), nn.ReLU()
    )


def textual_projection(channels: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(channels, channels), nn.ReLU())


class BilateralPrompt(nn.Module):
    """The residuals V' and L' of Eq. 3-5.

    The paper has bare matrices. As in the release, a visual projection is a 1x1 convolution, an
    affine instance norm and a ReLU; a textual one is a linear layer and a ReLU; and both results
    pass an output layer. See docs/paper_vs_code.md#prompt.

    With one expression per image (N = 1), the soft-max over expressions is 1 everywhere. V' is
    then constant over space, and the instance norm reduces it to its bias. The release scores one
    expression at a time, so inference here must not score several in one forward.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.v_proj1, self.v_proj2, self.v_proj3 = (visual_projection(channels) for _ in range(3))
        self.t_proj1, self.t_proj2, self.t_proj3 = (textual_projection(channels) for _ in range(3))
        self.v_output = nn.Sequential(
            nn.Conv2d(channels, channels, 1), nn.InstanceNorm2d(channels, affine=True)
        )
        self.t_output = nn.Sequential(nn.Linear(channels, channels))
        self.scale = 1 / math.sqrt(channels)

    def text_to_visual(self, vis_BCHW: Tensor, lan_BNC: Tensor) -> Tensor:
        """V' (B, C, H, W): positions gather from expressions (Eq. 3, soft-max over N; Eq. 5)."""
        query = self.v_proj1(vis_BCHW).flatten(2).transpose(1, 2)
        attention = torch.softmax(query @ self.t_proj2(lan_BNC).transpose(1, 2) * self.scale, dim=2)
        gathered = attention @ self.t_proj3(lan_BNC)
        return self.v_output(gathered.transpose(1, 2).reshape_as(vis_BCHW))

    def visual_to_text(self, vis_BCHW: Tensor, lan_BNC: Tensor) -> Tensor:
        """L' (B, N, C): expressions gather from positions (Eq. 4, soft-max over H W; Eq. 5)."""
        key = self.v_proj2(vis_BCHW).flatten(2)
        attention = torch.softmax(self.t_proj1(lan_BNC) @ key * self.scale, dim=2)
        return self.t_output(attention @ self.v_proj3(vis_BCHW).flatten(2).transpose(1, 2))
