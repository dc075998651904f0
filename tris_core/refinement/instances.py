"""Pseudo-instances from a displacement field, and the refinement of response maps by a walk inside each of them.

Shapes: R response maps of one image (H0, W0), (h, w) its stride-4 map, N instances.
"""

import torch
import torch.nn.functional as F
from scipy import ndimage
from torch import Tensor

from tris_core.refinement.random_walk import walk

STRIDE = 4
SEED_STRENGTH = 2.5


def find_centroids(displacement: Tensor, iterations: int = 300) -> Tensor:
    """Where each pixel ends when it follows the field: (2, h, w) displacements (dy, dx) to (2, h, w) rows and columns, int64.

    Every iteration adds the displacement found at the present place, interpolated bilinearly and held inside the map.
    """
    if not displacement.isfinite().all():
        raise ValueError(
            "the displacement field has values that are not finite; look for a diverged IRN training"
        )
    _, height, width = displacement.shape
    last = displacement.new_tensor([width - 1, height - 1], dtype=torch.float32)
    unit = 2 / last.clamp(
        min=1
    )  # places are (x, y) in the units of grid_sample, where the map spans -1 to 1
    field = (displacement.float().flip(0) * unit[:, None, None])[None]
    y, x = torch.meshgrid(
        torch.arange(height).to(field), torch.arange(width).to(field), indexing="ij"
    )
    place = (torch.stack([x, y], dim=2) * unit - 1)[None]
    for _ in range(iterations):
        moved = F.grid_sample(field, place, padding_mode="border", align_corners=True)
        place.add_(moved.permute(0, 2, 3, 1)).clamp_(-1, 1)
    return ((place[0] + 1) / 2 * last).round().long().permute(2, 0, 1).flip(0)


def instance_maps(displacement: Tensor) -> Tensor:
    """Split the map (h, w) of a displacement field (2, h, w) into N >= 1 disjoint instances that cover it: (N, h, w) bool.

    Seeds are the 4-connected regions of displacements shorter than 2.5 pixels. A pixel belongs to the seed its centroid
    falls on; those whose centroid falls on none form one more instance, the first. Seeds nothing falls on are left out.
    """
    short = (displacement.float().norm(dim=0) < SEED_STRENGTH).cpu().numpy()
    seeds = torch.from_numpy(ndimage.label(short)[0]).to(displacement.device)
    rows, columns = find_centroids(displacement)
    owner = seeds[rows, columns]
    return owner == owner.unique()[:, None, None]


def refine_maps(
    cams: Tensor,
    edge: Tensor,
    displacement: Tensor,
    *,
    radius: int = 5,
    beta: float = 10,
    exp_times: int = 8,
) -> Tensor:
    """Refine all response maps of one image: (R, H0, W0) in [0, 1] to (R, H0, W0) float32 in [0, 1].

    `edge` (h, w) probabilities and `displacement` (2, h, w) are the IRN's at stride 4, on the device of `cams`. A map
    goes to stride 4 (corners aligned) and is cut into the instances; each part walks by itself and comes back to full
    size; the largest part counts, and the map is divided by its maximum. A map without response stays zero.

    The pseudo-label is `refined > 0.25`. That equals the released chain (arg max of all parts against a background of
    0.25, connected components, their union): there, components under 1 % of the image lose their score, yet stay.
    """
    height, width = edge.shape
    if (height, width) != (-(-cams.shape[1] // STRIDE), -(-cams.shape[2] // STRIDE)):
        raise ValueError(
            f"edge {height, width} is not the stride-{STRIDE} map of cams {tuple(cams.shape)}"
        )
    small = F.interpolate(cams[None].float(), (height, width), mode="bilinear", align_corners=True)[
        0
    ]
    walked = walk_instances(
        small, edge, instance_maps(displacement), radius=radius, beta=beta, exp_times=exp_times
    )
    return torch.stack([_full_size(parts, cams.shape[1], cams.shape[2]) for parts in walked])


def walk_instances(
    cams: Tensor, edge: Tensor, masks: Tensor, *, radius: int, beta: float, exp_times: int
) -> list[Tensor]:
    """Walk maps (R, h, w), each cut by the instance `masks` (N, h, w) bool: R tensors (n_r, h, w), n_r <= N.

    All parts of all maps share one walk. Parts without response stay zero and are left out.
    """
    parts = cams[:, None] * masks
    alive = parts.flatten(2).any(dim=2)
    if not alive.any():
        return [parts[r, :0] for r in range(len(parts))]
    walked = walk(parts[alive], edge, radius=radius, beta=beta, exp_times=exp_times)
    return list(walked.split(alive.sum(dim=1).tolist()))


def _full_size(parts: Tensor, height: int, width: int) -> Tensor:
    """The largest of the parts (n, h, w) at full size, divided by its maximum; zeros where there is no response."""
    if not len(parts):
        return parts.new_zeros(height, width)
    large = F.interpolate(parts[None], scale_factor=STRIDE, mode="bilinear", align_corners=False)[0]
    merged = large[:, :height, :width].amax(dim=0)
    return merged / merged.max().clamp(min=torch.finfo(merged.dtype).tiny)
