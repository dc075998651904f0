"""Baselines against the attention pool and the gradients that define them."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tris_core.baselines import DenseClip, GradCam
from tris_core.clip.towers import build_clip
from tris_core.runtime.errors import InputError
from tris_core.weights.clip_spec import ClipConfig

SIZE = 64
TEXT = {"context_length": 8, "width": 16, "heads": 2, "layers": 1, "vocab_size": 20}


def clip(**vision: object) -> torch.nn.Module:
    """A small CLIP with random weights and an attention pool that does not attend evenly."""
    tower = {"layers": [1, 1, 1, 1], "width": 8, "image_size": SIZE, **vision}
    content = {"embed_dim": 16, "vision_cfg": tower, "text_cfg": TEXT, "quick_gelu": False}
    model = build_clip(ClipConfig.model_validate(content)).eval()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.visual.parameters():
            if parameter.ndim > 1:
                noise = torch.randn(parameter.shape, generator=generator)
                parameter.add_(noise * parameter[0].numel() ** -0.5)
    return model


@pytest.fixture
def image() -> Tensor:
    return torch.randn(2, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(2))


TOKENS = torch.tensor([[17, 3, 5, 19, 0], [17, 8, 19, 0, 0]])


@torch.no_grad()
def test_a_value_is_the_pooled_feature_of_one_pixel(image: Tensor) -> None:
    model = DenseClip(clip(), "tiny")
    pool = model.pool
    features = super(DenseClip, model).encode_image(image)
    pixels = features.flatten(2).permute(2, 0, 1)
    for place in range(len(pixels)):
        alone = torch.ones(1, len(pixels), dtype=torch.bool)
        alone[0, place] = False
        pooled, _ = F.multi_head_attention_forward(
            query=pixels.mean(0, keepdim=True),
            key=pixels,
            value=pixels,
            embed_dim_to_check=pixels.shape[2],
            num_heads=pool.num_heads,
            in_proj_weight=None,
            in_proj_bias=torch.cat([pool.q_proj.bias, pool.k_proj.bias, pool.v_proj.bias]),
            bias_k=None,
            bias_v=None,
            add_zero_attn=False,
            dropout_p=0.0,
            out_proj_weight=pool.c_proj.weight,
            out_proj_bias=pool.c_proj.bias,
            attn_mask=alone,
            use_separate_proj_weight=True,
            training=False,
            q_proj_weight=pool.q_proj.weight,
            k_proj_weight=pool.k_proj.weight,
            v_proj_weight=pool.v_proj.weight,
        )
        value = model.encode_image(image).flatten(2)[..., place]
        torch.testing.assert_close(value, F.normalize(pooled[0], dim=1), rtol=1e-4, atol=1e-6)


@torch.no_grad()
def test_dense_responses_are_cosines_minus_their_mean(image: Tensor) -> None:
    model = DenseClip(clip(), "tiny")
    vis, lan = model.encode_image(image), model.encode_text(TOKENS)
    response = model.respond_pairs(vis, lan)
    cosine = F.cosine_similarity(vis, lan[:, :, None, None], dim=1)
    torch.testing.assert_close(response, cosine - cosine.mean((1, 2), keepdim=True))


def test_grad_cam_equals_that_of_the_whole_network(image: Tensor) -> None:
    whole = clip()
    kept: list[Tensor] = []
    hook = whole.visual.layer4.register_forward_hook(
        lambda module, inputs, output: kept.append(output)
    )
    cosine = F.cosine_similarity(
        whole.encode_image(image), whole.encode_text(padded(TOKENS)), dim=1
    )
    hook.remove()
    (gradient,) = torch.autograd.grad(cosine.sum(), kept[0])
    expected = torch.einsum("pc,pchw->phw", gradient.mean((2, 3)), kept[0])
    model = GradCam(whole, "tiny")
    with torch.inference_mode():
        response = model.respond_pairs(model.encode_image(image), model.encode_text(TOKENS))
    assert expected.std() > 1e-4
    torch.testing.assert_close(response, expected, rtol=1e-3, atol=1e-7)


def padded(tokens: Tensor) -> Tensor:
    return F.pad(tokens, (0, TEXT["context_length"] - tokens.shape[1]))


def test_grad_cam_takes_larger_images_than_the_tower_was_trained_on() -> None:
    model = GradCam(clip(), "tiny")
    with torch.inference_mode():
        vis = model.encode_image(torch.randn(2, 3, 2 * SIZE, 2 * SIZE))
        assert model.respond_pairs(vis, model.encode_text(TOKENS)).shape == (2, 4, 4)


@pytest.mark.parametrize("method", [DenseClip, GradCam])
def test_towers_other_than_resnets_are_refused(method: type[DenseClip]) -> None:
    with pytest.raises(
        InputError, match=r"prepare_clip\.backbone = 'ViT-tiny': .*needs a ResNet tower"
    ):
        method(clip(layers=1, width=64, patch_size=16), "ViT-tiny")
