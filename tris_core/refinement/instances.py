"""Refinement of response maps by a random walk inside pseudo-instances (Ahn et al., CVPR 2019).

Shapes: B images of one size, R response maps (R, H0, W0) of an image, its stride-4 map (h, w), N
instances.
"""

import torch
import torch.nn.functional as F
from scipy import ndimage
from torch import Tensor

from tris_core.data.resize import bilinear
from tris_core.refinement.random_walk import walk

STRIDE = 4
SEED_STRENGTH = 2.5  # pixels


def find_centroids(displacements: Tensor, iterations: int = 300) -> Tensor:
    """Follow the displacement field of every image from every pixel.

    Every iteration adds the displacement at the current position, interpolated bilinearly;
    positions are clamped to the map.

    Args:
        displacements: (B, 2, h, w), dy and dx in pixels.

    Returns:
        (B, 2, h, w) int64: the row and column where each pixel ends.
    """
    images, _, height, width = displacements.shape
    last = displacements.new_tensor([width - 1, height - 1], dtype=torch.float32)
    unit = 2 / last.clamp(min=1)  # of grid_sample, in which the map spans -1 to 1
    field = displacements.float().flip(1) * unit[:, None, None]
    rows, columns = torch.arange(height).to(field), torch.arange(width).to(field)
    y, x = torch.meshgrid(rows, columns, indexing="ij")
    position = (torch.stack([x, y], dim=2) * unit - 1).repeat(images, 1, 1, 1)
    for _ in range(iterations):
        moved = F.grid_sample(field, position, padding_mode="border", align_corners=True)
        position.add_(moved.permute(0, 2, 3, 1)).clamp_(-1, 1)
    return ((position + 1) / 2 * last).round().long().permute(0, 3, 1, 2).flip(1)


def instance_maps(displacements: Tensor) -> list[Tensor]:
    """Split the map of every displacement field into disjoint instances that cover it.

    The centres are the 4-connected regions of displacements shorter than 2.5 pixels. A pixel
    belongs to the centre that it ends on. Pixels that end on no centre form one more instance,
    the first. Centres without pixels are left out.

    Args:
        displacements: (B, 2, h, w), dy and dx in pixels.

    Returns:
        (N, h, w) bool of each image, N >= 1.

    Raises:
        ValueError: if a displacement is not finite.
    """
    if not displacements.isfinite().all():
        problem = "the displacement field has values that are not finite"
        raise ValueError(f"{problem}; look for a diverged IRN training")
    ends = find_centroids(displacements)
    short = (displacements.float().norm(dim=1) < SEED_STRENGTH).cpu().numpy()
    instances = []
    for (rows, columns), seeds in zip(ends, short, strict=True):
        centres = torch.from_numpy(ndimage.label(seeds)[0]).to(ends.device)
        owner = centres[rows, columns]
        instances.append(owner == owner.unique()[:, None, None])
    return instances


def refine_maps(
    cams: Tensor,
    edge: Tensor,
    instances: Tensor,
    *,
    radius: int = 5,
    beta: float = 10,
    exp_times: int = 8,
) -> Tensor:
    """Refine all response maps of one image.

    A map is resized to stride 4 (corners aligned) and cut into instances. Each part walks by
    itself and is resized back. The maximum over parts, divided by its own maximum, is the result.

    The pseudo-label is `refined > 0.25`. It equals that of the released chain: arg max of all
    parts against a background of 0.25, connected components, their union. There, components under
    1 % of the image lose their score but stay (docs/paper_vs_code.md#irn).

    Args:
        cams: (R, H0, W0) in [0, 1].
        edge: (h, w) boundary probabilities of the IRN at stride 4, on the device of `cams`.
        instances: (N, h, w) bool, of `instance_maps`, likewise.
        radius, beta, exp_times: see `tris_core.refinement.random_walk.walk`.

    Returns:
        (R, H0, W0) float32 in [0, 1]; zero for a map without response.

    Raises:
        ValueError: if `edge` is not the stride-4 map of `cams`.
    """
    height, width = edge.shape
    full_height, full_width = cams.shape[1:]
    if (height, width) != (-(-full_height // STRIDE), -(-full_width // STRIDE)):
        found = f"edge {height, width} is not the stride-{STRIDE} map of cams {tuple(cams.shape)}"
        raise ValueError(found)
    maps = cams[None].float()
    small = bilinear(maps, (height, width), align_corners=True)[0]
    walked = walk_instances(small, edge, instances, radius=radius, beta=beta, exp_times=exp_times)
    return torch.stack([_full_size(parts, full_height, full_width) for parts in walked])


def walk_instances(
    cams: Tensor, edge: Tensor, masks: Tensor, *, radius: int, beta: float, exp_times: int
) -> list[Tensor]:
    """Walk maps (R, h, w), each cut by the instance masks (N, h, w) bool.

    All parts of all maps share one walk. Parts without response would stay zero, so they are left
    out.

    Returns:
        The walked parts of each map, R tensors (n, h, w) with n <= N.
    """
    parts = cams[:, None] * masks
    alive = parts.flatten(2).any(dim=2)
    if not alive.any():
        return [parts[r, :0] for r in range(len(parts))]
    walked = walk(parts[alive], edge, radius=radius, beta=beta, exp_times=exp_times)
    return list(walked.split(alive.sum(dim=1).tolist()))


def _full_size(parts: Tensor, height: int, width: int) -> Tensor:
    """The maximum over parts (n, h, w) at full size, divided by its maximum; zeros if n is 0."""
    if not len(parts):
        return parts.new_zeros(height, width)
    sides = STRIDE * parts.shape[1], STRIDE * parts.shape[2]
    large = bilinear(parts[None], sides, align_corners=False)[0]
    merged = large[:, :height, :width].amax(dim=0)
    return merged / merged.max().clamp(min=torch.finfo(merged.dtype).tiny)
