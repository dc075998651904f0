"""Bilateral prompt (Sec. 3.2, Fig. 3): each modality is enriched by the other.

Shapes: B images, N expressions scored on each image, C = C_d channels, H W the stride-32 map.
Parameter names follow the paper's weights: `v_proj1..3` are W^v_1..3, `t_proj1..3` are W^l_1..3.
"""

import math
from typing import Literal, cast

import torch
from torch import Tensor, nn

Softmax = Literal["texts", "space"]
Projection = Literal["released", "plain"]


def visual_projection(channels: int, kind: Projection) -> nn.Module:
    if kind == "plain":
        return nn.Conv2d(channels, channels, 1, bias=False)
    return nn.Sequential(
        nn.Conv2d(channels, channels, 1), nn.InstanceNorm2d(channels, affine=True), nn.ReLU()
    )


def textual_projection(channels: int, kind: Projection) -> nn.Module:
    if kind == "plain":
        return nn.Linear(channels, channels, bias=False)
    return nn.Sequential(nn.Linear(channels, channels), nn.ReLU())


class BilateralPrompt(nn.Module):
    """The residuals V' and L' of Eq. 3-5. See docs/paper_vs_code.md#prompt.

    Args:
        channels: C_d.
        softmax: `texts`, as released: a position gathers from the N expressions. With N = 1 the
            soft-max is 1 everywhere, V' is constant over space, and the instance norm reduces it
            to its bias. The release scores one expression at a time, so inference must not score
            several in one forward. `space`, Eq. 3-5 read with one text: every expression has a V'
            of its own, which its attention spreads over space. Responses do not depend on N.
        projection: `plain`, the paper's bare matrices; or `released`. There a visual projection is
            a 1x1 convolution, an affine instance norm and a ReLU; a textual one is a linear layer
            and a ReLU; and both results pass an output layer.
    """

    def __init__(
        self, channels: int, *, softmax: Softmax = "texts", projection: Projection = "released"
    ) -> None:
        super().__init__()
        self.v_proj1, self.v_proj2, self.v_proj3 = (
            visual_projection(channels, projection) for _ in range(3)
        )
        self.t_proj1, self.t_proj2, self.t_proj3 = (
            textual_projection(channels, projection) for _ in range(3)
        )
        self.v_output, self.t_output = nn.Sequential(), nn.Sequential()  # the identity
        if projection == "released":
            self.v_output.extend(
                [nn.Conv2d(channels, channels, 1), nn.InstanceNorm2d(channels, affine=True)]
            )
            self.t_output.append(nn.Linear(channels, channels))
        self.softmax = softmax
        self.scale = 1 / math.sqrt(channels)

    def text_to_visual(self, vis_BCHW: Tensor, lan_BNC: Tensor) -> Tensor:
        """V' (B, C, H, W) of `texts`: positions gather from expressions.

        The products of Eq. 3 with a soft-max over N, then Eq. 5.
        """
        query = self.v_proj1(vis_BCHW).flatten(2).transpose(1, 2)
        attention = torch.softmax(query @ self.t_proj2(lan_BNC).transpose(1, 2) * self.scale, dim=2)
        gathered = attention @ self.t_proj3(lan_BNC)
        return self.v_output(gathered.transpose(1, 2).reshape_as(vis_BCHW))

    def residual_response(self, vis_BCHW: Tensor, lan_BNC: Tensor, prompted_BNC: Tensor) -> Tensor:
        """V' L^ (B, N, H, W) of `space`: what V' adds to Eq. 2, where L^ (B, N, C) is prompted.

        V'_j of expression j is A_v,j (H W) times l_j W_3 (C), Eq. 4 and 5. Its product with L^_j is
        A_v,j (l_j W_3 . L^_j): V' itself, (B, N, C, H, W), is never made.
        """
        attention = self._over_space(self.t_proj1(lan_BNC), self.v_proj2(vis_BCHW))
        value, offset = self.t_proj3(lan_BNC), torch.zeros_like(attention[..., :1])
        if len(self.v_output):  # a 1x1 convolution and an instance norm of that product
            convolution, norm = cast(tuple[nn.Conv2d, nn.InstanceNorm2d], tuple(self.v_output))
            value = value @ convolution.weight.flatten(1).T  # the norm takes off the bias
            attention = attention - attention.mean(2, keepdim=True)
            variance = value**2 * attention.square().mean(2, keepdim=True)
            value = norm.weight * value / (variance + norm.eps).sqrt()
            offset = (norm.bias * prompted_BNC).sum(2, keepdim=True)
        response = attention * (value.float() * prompted_BNC).sum(2, keepdim=True) + offset
        return response.unflatten(2, vis_BCHW.shape[2:])

    def visual_to_text(self, vis_BCHW: Tensor, lan_BNC: Tensor) -> Tensor:
        """L' (B, N, C): expressions gather from positions, with a soft-max over H W (Eq. 5).

        The release multiplies what Eq. 4 names; the text, and `space`, what Eq. 3 names.
        """
        if self.softmax == "texts":
            attention = self._over_space(self.t_proj1(lan_BNC), self.v_proj2(vis_BCHW))
        else:
            attention = self._over_space(self.t_proj2(lan_BNC), self.v_proj1(vis_BCHW))
        return self.t_output(attention @ self.v_proj3(vis_BCHW).flatten(2).transpose(1, 2))

    def _over_space(self, text_BNC: Tensor, visual_BCHW: Tensor) -> Tensor:
        """Soft-max over the positions of projected features, (B, N, H W)."""
        return torch.softmax(text_BNC @ visual_BCHW.flatten(2) * self.scale, dim=2)
