"""Activation checkpointing: less memory for more time, with the same numbers."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any

from open_clip.modified_resnet import Bottleneck
from open_clip.transformer import ResidualAttentionBlock
from timm.models.convnext import ConvNeXtBlock
from torch import Tensor, is_grad_enabled, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

Context = AbstractContextManager[None]
BLOCKS = (Bottleneck, ResidualAttentionBlock, ConvNeXtBlock)


def recompute_blocks(model: nn.Module) -> None:
    """Let the blocks of CLIP's towers keep only their inputs for the backward pass.

    What is inside is computed again there. Batch norms count a batch once.
    """
    for block in model.modules():
        if isinstance(block, BLOCKS):
            again = partial(_recomputed, block, block.forward)
            block.forward = again  # type: ignore[method-assign]


def _recomputed(block: nn.Module, forward: Any, *inputs: Any, **named: Any) -> Tensor:
    if not is_grad_enabled():
        found: Tensor = forward(*inputs, **named)
        return found
    result: Tensor = checkpoint(
        forward, *inputs, use_reentrant=False, context_fn=partial(_contexts, block), **named
    )
    return result


def _contexts(block: nn.Module) -> tuple[Context, Context]:
    """Of the first computation and of the second."""
    return nullcontext(), _statistics_kept(block)


@contextmanager
def _statistics_kept(block: nn.Module) -> Iterator[None]:
    """The batch norms of a block do not count what passes in a `with` block."""
    norms = [norm for norm in block.modules() if isinstance(norm, _BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
            if norm.training and norm.num_batches_tracked is not None:
                norm.num_batches_tracked -= 1
