"""Batch norm over the batches of all processes."""

import torch
from torch import Tensor, nn

from tris_core.runtime.distributed import mean, world_size


def synchronise_batch_norm(model: nn.Module, device: torch.device) -> None:
    """Make every batch norm in training use the batches of all processes.

    The state dict does not change. On a GPU this is PyTorch's own `SyncBatchNorm`, which a CPU does
    not have.
    """
    if world_size() == 1:
        return
    if device.type == "cuda":
        nn.SyncBatchNorm.convert_sync_batchnorm(model)
        return
    for module in model.modules():
        if type(module) is nn.BatchNorm2d:
            module.__class__ = _SyncedBatchNorm


class _SyncedBatchNorm(nn.BatchNorm2d):
    """Synchronised batch norm on a CPU."""

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)
        wide = x.float()
        centre = mean(wide.mean((0, 2, 3)))
        apart = wide - centre.view(1, -1, 1, 1)
        variance = mean(apart.square().mean((0, 2, 3)))
        self._update(centre, variance, world_size() * x.numel() // x.shape[1])
        scale = (self.weight * torch.rsqrt(variance + self.eps)).view(1, -1, 1, 1)
        return (apart * scale + self.bias.view(1, -1, 1, 1)).to(x.dtype)

    @torch.no_grad()
    def _update(self, centre: Tensor, variance: Tensor, count: int) -> None:
        """Move the running statistics towards those of `count` values a channel."""
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        momentum = self.momentum or 0.0
        self.running_mean.lerp_(centre, momentum)
        self.running_var.lerp_(variance * (count / max(1, count - 1)), momentum)
        self.num_batches_tracked += 1
