"""Step-1 network (Sec. 3.1-3.3): from image and expression to a response map.

Shapes: B images, N expressions per image, T tokens, C = C_d hidden channels, H W the stride-32 map.
"""

import math

import torch
import torch.nn.functional as F
from open_clip.model import CLIP
from torch import Tensor, nn

from tris_core.clip.towers import build_backbone, encode_words, sentence_feature, stage_features
from tris_core.data.transforms import Pixels
from tris_core.runtime.device import exact_products
from tris_core.step1.prompt import BilateralPrompt
from tris_core.weights.configs import Step1Config, Step1Model


class Step1(nn.Module):
    """CLIP features of image and sentence, projected, prompted (Eq. 1, 3-5) and multiplied (Eq. 2).

    Args:
        clip: The backbone. The image feature is the last map of its image tower, the text feature
            that of the end token.
        model: Widths, weights of the residuals (a residual of weight 0 is not computed), the kind
            of prompt, and tau of Eq. 2, which the release does not learn
            (docs/paper_vs_code.md#temperature).
        pixels: What images are normalised with, see `normalise`.
    """

    def __init__(self, clip: CLIP, model: Step1Model, pixels: Pixels | None = None) -> None:
        super().__init__()
        self.backbone = clip
        self.pixels = pixels
        self.vis_project = nn.Conv2d(model.visual_channels, model.hidden, 1)
        self.lan_project = nn.Linear(model.text_channels, model.hidden)
        self.attn_fusion = BilateralPrompt(
            model.hidden, softmax=model.softmax, projection=model.projection
        )
        self.logit_scale = nn.Parameter(
            torch.tensor(math.log(1 / model.temperature)), requires_grad=model.learn_temperature
        )
        self.alpha, self.beta = model.alpha, model.beta

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
        per_text = self.attn_fusion.softmax == "space"  # each expression has a V' of its own
        if self.alpha and not per_text:
            prompted_vis = vis_BCHW + self.alpha * self.attn_fusion.text_to_visual(
                vis_BCHW, lan_BNC
            )
        if self.beta:
            prompted_lan = lan_BNC + self.beta * self.attn_fusion.visual_to_text(vis_BCHW, lan_BNC)
        with exact_products(vis_BCHW.device):
            # In bfloat16, responses of 8 to 16 are 1/16 apart: too coarse for psi and the maximum.
            response = prompted_lan.float() @ prompted_vis.flatten(2).float()
        response = response.unflatten(2, vis_BCHW.shape[2:])
        if self.alpha and per_text:
            added = self.attn_fusion.residual_response(vis_BCHW, lan_BNC, prompted_lan)
            response = response + self.alpha * added
        return response * self.logit_scale.exp()

    def respond_pairs(self, vis_PCHW: Tensor, lan_PC: Tensor) -> Tensor:
        """Responses (P, H, W) of P pairs of image and expression, as inference needs them.

        Every pair is scored in a forward of its own, see `BilateralPrompt`.
        """
        return self.respond(vis_PCHW, lan_PC[:, None])[:, 0]


def build_step1(config: Step1Config) -> Step1:
    """Step-1 with random weights."""
    return Step1(build_backbone(config.clip.config), config.model, config.clip.pixels)
