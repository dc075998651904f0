"""The optimizer of Step-1 and Step-2."""

import torch
from torch import nn

from tris_core.training.params import Training


def adamw(model: nn.Module, params: Training, *, full_rate: str | None = None) -> torch.optim.AdamW:
    """AdamW in two groups: the backbone at `backbone_lr_mult` times the learning rate, and the rest.

    Parameters of the backbone whose name contains `full_rate` count as the rest.
    """
    backbone: list[nn.Parameter] = []
    rest: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        slow = name.startswith("backbone.") and (full_rate is None or full_rate not in name)
        (backbone if slow else rest).append(parameter)
    groups = [
        {"params": backbone, "lr": params.lr * params.backbone_lr_mult},
        {"params": rest, "lr": params.lr},
    ]
    return torch.optim.AdamW(groups, weight_decay=params.weight_decay)
