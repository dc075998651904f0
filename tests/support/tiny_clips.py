"""Towers of small CLIPs, in open_clip's terms."""

from typing import Any

TEXT = {"context_length": 8, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1}
TOWERS: dict[str, dict[str, Any]] = {
    "tiny": {"layers": [1, 1, 1, 1], "width": 8, "image_size": 64, "head_width": 16},
    "wide": {"layers": [1, 1, 1, 1], "width": 64, "image_size": 64},
    "vit": {"layers": 2, "width": 32, "head_width": 16, "patch_size": 16, "image_size": 64},
    "convnext": {
        "timm_model_name": "convnext_atto",
        "timm_pool": "",
        "timm_proj": "linear",
        "image_size": 64,
    },
}
