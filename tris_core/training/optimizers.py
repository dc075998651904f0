"""Optimizer and learning-rate schedule of Step-1 and Step-2."""

from collections.abc import Callable
from functools import partial

import torch
from torch import nn

from tris_core.training.params import Training


def adamw(model: nn.Module, params: Training, *, full_rate: str | None = None) -> torch.optim.AdamW:
    """AdamW in two groups: the backbone at `lr * backbone_lr_mult`, everything else at `lr`.

    Backbone parameters whose name contains `full_rate` belong to the second group.
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
    on_gpu = next(model.parameters()).is_cuda
    return torch.optim.AdamW(groups, weight_decay=params.weight_decay, fused=on_gpu)


def poly(step: int, steps: int, power: float = 0.9) -> float:
    """Factor of the learning rate: (1 - step/steps)^power."""
    return max(0.0, 1 - step / steps) ** power


def constant(step: int) -> float:
    """Factor of the learning rate: 1 at every step."""
    return 1.0


def schedule(params: Training, steps: int) -> Callable[[int], float]:
    """The schedule that `params.schedule` names."""
    return partial(poly, steps=steps) if params.schedule == "poly" else constant
