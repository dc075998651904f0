"""A tiny SAM with random weights."""

from pathlib import Path

import pytest
import torch

transformers = pytest.importorskip("transformers", reason="the extra tris[sam] is not installed")
SIZE = 64


def write_sam(folder: Path) -> Path:
    """Write the model and its processor to `folder` and return it."""
    torch.manual_seed(0)
    config = transformers.SamConfig(
        vision_config={
            "hidden_size": 16, "output_channels": 16, "num_hidden_layers": 2, "mlp_dim": 32,
            "num_attention_heads": 2, "image_size": SIZE, "patch_size": 8, "window_size": 4,
            "global_attn_indexes": [1], "num_pos_feats": 8,
        },
        prompt_encoder_config={
            "hidden_size": 16, "image_size": SIZE, "patch_size": 8, "mask_input_channels": 4,
        },
        mask_decoder_config={
            "hidden_size": 16, "mlp_dim": 32, "num_attention_heads": 2,
            "iou_head_hidden_dim": 16, "iou_head_depth": 2,
        },
    )  # fmt: skip
    transformers.SamModel(config).save_pretrained(folder)
    sizes = {"size": {"longest_edge": SIZE}, "pad_size": {"height": SIZE, "width": SIZE}}
    transformers.SamProcessor(transformers.SamImageProcessor(**sizes)).save_pretrained(folder)
    # newer releases write processor_config.json instead
    if not (folder / "preprocessor_config.json").is_file():
        transformers.SamImageProcessor(**sizes).save_pretrained(folder)
    return folder
