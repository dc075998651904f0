"""Pixel-pair affinities from a boundary map, and the losses of IRN (Ahn et al., CVPR 2019, Sec. 4).

A pair joins a pixel to a destination less than `radius` away in the half plane below it, so each
pair occurs once. All functions use the same window of source pixels: those whose destinations are
all inside the map. For a map (H, W) and reach = radius - 1, these are rows 0 .. H - reach and
columns reach .. W - reach.
Shapes: B images, P destinations, (h, w) = (H - reach, W - 2 reach) the window.
"""

from functools import lru_cache, reduce
from typing import NamedTuple

import torch
from torch import Tensor

from tris_core.crf.seeds import BACKGROUND, FOREGROUND, IGNORE
from tris_core.runtime import distributed

Offset = tuple[int, int]

LOG_EPS = 1e-5


class PairMasks(NamedTuple):
    """Pairs to train on, each (B, P, h, w) bool: both background, both foreground, one of each."""

    background: Tensor
    foreground: Tensor
    negative: Tensor


@lru_cache
def search_paths(radius: int) -> dict[Offset, tuple[Offset, ...]]:
    """Destinations (dy, dx) closer than `radius` in the lower half plane, with their paths.

    A path has the pixels of the box between source and destination that are less than one pixel
    away from the segment, both ends included.
    """
    reach = radius - 1
    destinations = [
        (dy, dx)
        for dy in range(radius)
        for dx in range(-reach, radius)
        if (dy, dx) > (0, 0) and dy * dy + dx * dx < radius * radius
    ]
    return {destination: _path(*destination) for destination in destinations}


def _path(dy: int, dx: int) -> tuple[Offset, ...]:
    pixels = [(y, x) for y in range(dy + 1) for x in range(min(dx, 0), max(dx, 0) + 1)]
    return tuple((y, x) for y, x in pixels if (dy * x - dx * y) ** 2 < dy * dy + dx * dx)


def edge_to_affinity(edge: Tensor, radius: int) -> Tensor:
    """Affinities (..., P, h, w) from boundary probabilities (..., H, W) in [0, 1].

    The affinity of a pair is 1 minus the largest probability on its path.
    """
    weakest = [
        _largest([_window(edge, pixel, radius) for pixel in path], learning=edge.requires_grad)
        for path in search_paths(radius).values()
    ]
    return 1 - torch.stack(weakest, dim=-3)


def _largest(values: list[Tensor], *, learning: bool) -> Tensor:
    """Element-wise maximum.

    In training on a CPU, `max` keeps one index per element for the backward pass. Otherwise
    `reduce` is faster; a GPU would sort those indices.
    """
    if learning and values[0].device.type == "cpu":
        return torch.stack(values).max(dim=0).values
    return reduce(torch.maximum, values)


def pair_masks(label: Tensor, radius: int) -> PairMasks:
    """Pairs of a label map (B, H, W): 0 background, 1 foreground, 255 ignore.

    Pairs with an ignored end are left out.
    """
    source = _window(label, (0, 0), radius).unsqueeze(1)
    target = _destinations(label, radius)
    valid = (source != IGNORE) & (target != IGNORE)
    equal = valid & (source == target)
    return PairMasks(
        equal & (source == BACKGROUND), equal & (source == FOREGROUND), valid & (source != target)
    )


def irn_losses(
    edge_logits: Tensor, displacement: Tensor, label: Tensor, radius: int
) -> dict[str, Tensor]:
    """The four losses of IRN and their `total`, scalars.

    Affinities of background and of foreground pairs are averaged separately, so that neither
    outweighs the other. Two pixels of one object point at the same centre, so their displacements
    differ by the vector between them. Displacements in the background should not differ at all.
    All means are over the batch.

    Args:
        edge_logits: Boundary logits (B, 1, H, W).
        displacement: Displacements (B, 2, H, W) in pixels of the map.
        label: CRF seeds (B, H, W) of 0, 1 and 255.
        radius: See the module.
    """
    pairs = pair_masks(label, radius)
    affinity = edge_to_affinity(torch.sigmoid(edge_logits[:, 0].float()), radius)
    attract, repel = -torch.log(affinity + LOG_EPS), -torch.log(1 + LOG_EPS - affinity)

    difference = _window(displacement.float(), (0, 0), radius).unsqueeze(1) - _destinations(
        displacement.float(), radius
    )
    between = _offsets(radius, difference.device)
    apart_fg = (difference - between[:, :, None, None]).abs().mean(dim=2)
    apart_bg = difference.abs().mean(dim=2)

    losses = {
        "affinity_positive": (_mean(attract, pairs.background) + _mean(attract, pairs.foreground))
        / 2,
        "affinity_negative": _mean(repel, pairs.negative),
        "displacement_fg": _mean(apart_fg, pairs.foreground),
        "displacement_bg": _mean(apart_bg, pairs.background),
    }
    return {**losses, "total": torch.stack(list(losses.values())).sum() / 2}


@lru_cache
def _offsets(radius: int, device: torch.device) -> Tensor:
    """The destinations (P, 2) as float32, copied to a device once."""
    return torch.tensor(list(search_paths(radius)), dtype=torch.float32, device=device)


def _window(x: Tensor, offset: Offset, radius: int) -> Tensor:
    """The source window of (..., H, W) moved by `offset`, (..., h, w)."""
    dy, dx = offset
    reach = radius - 1
    height, width = x.shape[-2] - reach, x.shape[-1] - 2 * reach
    if height < 1 or width < 1:
        raise ValueError(
            f"a map of {tuple(x.shape[-2:])} has no pairs at radius {radius}; "
            "use a larger map or pad it"
        )
    return x[..., dy : dy + height, reach + dx : reach + dx + width]


def _destinations(x: Tensor, radius: int) -> Tensor:
    """Values of (B, ..., H, W) at every destination, (B, P, ..., h, w)."""
    return torch.stack([_window(x, offset, radius) for offset in search_paths(radius)], dim=1)


def _mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean of `values` where `mask`, over the pairs of all ranks; 0 if there is no such pair."""
    return (values * mask).sum() / (
        distributed.mean(mask.sum().float()) + LOG_EPS / distributed.world_size()
    )
