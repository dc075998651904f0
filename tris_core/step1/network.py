"""Step-1 network (Sec. 3.1-3.3): from image and expression to a response map.

Shapes: B images, N expressions per image, T tokens, C = C_d hidden channels, H W the stride-32 map.
"""

import math

import torch
import torch.nn.functional as F
from open_clip.model import CLIP
from torch import Tensor, nn

from tris_core.clip.towers import build_clip, encode_words, sentence_feature, stage_features
from tris_core.step1.prompt import BilateralPrompt
from tris_core.weights.configs import Step1Config


class Step1(nn.Module):
    """CLIP features of image and sentence, projected, prompted (Eq. 1, 3-5) and multiplied (Eq. 2).

    Args:
        clip: The backbone. The image feature is the last map of its image tower, the text feature
            that of the end token.
        channels: Channels of that map, and width of the text feature.
        hidden: C_d, the width both are projected to.
        alpha: Weight of V' in Eq. 1. 0 drops the residual, which is then not computed.
        beta: Weight of L' in Eq. 1, likewise.
        temperature: tau of Eq. 2.
        learn_temperature: The release does not; see docs/paper_vs_code.md#temperature.
    """

    def __init__(
        self,
        clip: CLIP,
        *,
        channels: tuple[int, int],
        hidden: int,
        alpha: float,
        beta: float,
        temperature: float,
        learn_temperature: bool,
    ) -> None:
        super().__init__()
        self.backbone = clip
        self.vis_project = nn.Conv2d(channels[0], hidden, 1)
        self.lan_project = nn.Linear(channels[1], hidden)
        self.attn_fusion = BilateralPrompt(hidden)
        self.logit_scale = nn.Parameter(
            torch.tensor(math.log(1 / temperature)), requires_grad=learn_temperature
        )
        self.alpha, self.beta = alpha, beta

    def encode_image(self, image: Tensor) -> Tensor:
        """V (B, C, H, W) of normalised images (B, 3, 32 H, 32 W), with unit length along C."""
        return F.normalize(self.vis_project(stage_features(self.backbone.visual, image)[-1]), dim=1)

    def encode_text(self, tokens: Tensor) -> Tensor:
        """L (B, C) of token ids (B, T), with unit length along C."""
        feature = sentence_feature(self.backbone, encode_words(self.backbone, tokens), tokens)
        return F.normalize(self.lan_project(feature), dim=1)

    def respond(self, vis_BCHW: Tensor, lan_BNC: Tensor) -> Tensor:
        """Responses R (B, N, H, W) of N expressions on each image (Eq. 1, 2), before any ReLU."""
        prompted_vis, prompted_lan = vis_BCHW, lan_BNC
        if self.alpha:
            prompted_vis = vis_BCHW + self.alpha * self.attn_fusion.text_to_visual(
                vis_BCHW, lan_BNC
            )
        if self.beta:
            prompted_lan = lan_BNC + self.beta * self.attn_fusion.visual_to_text(vis_BCHW, lan_BNC)
        with torch.autocast(vis_BCHW.device.type, enabled=False):
            # In bfloat16, responses of 8 to 16 are 1/16 apart: too coarse for psi and the maximum.
            product = prompted_lan.float() @ prompted_vis.flatten(2).float()
        response = product * self.logit_scale.exp()
        return response.unflatten(2, vis_BCHW.shape[2:])

    def respond_pairs(self, vis_PCHW: Tensor, lan_PC: Tensor) -> Tensor:
        """Responses (P, H, W) of P pairs of image and expression, as inference needs them.

        Every pair is scored in a forward of its own, see `BilateralPrompt`.
        """
        return self.respond(vis_PCHW, lan_PC[:, None])[:, 0]


def build_step1(config: Step1Config) -> Step1:
    """Step-1 with random weights."""
    model = config.model.content()
    channels = model.pop("visual_channels"), model.pop("text_channels")
    return Step1(build_clip(config.clip.config), channels=channels, **model)
