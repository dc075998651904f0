"""The optimizer of Step-1 and Step-2."""

import torch
from torch import nn

from tris_core.params.optim import Training


def adamw(model: nn.Module, params: Training) -> torch.optim.AdamW:
    """AdamW in two groups: the backbone at `backbone_lr_mult` times the learning rate, and the rest."""
    trained = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    backbone = [p for name, p in trained if name.startswith("backbone.")]
    rest = [p for name, p in trained if not name.startswith("backbone.")]
    groups = [{"params": backbone, "lr": params.lr * params.backbone_lr_mult}, {"params": rest, "lr": params.lr}]
    return torch.optim.AdamW(groups, weight_decay=params.weight_decay)
