"""Pseudo-instances from a displacement field, and the refinement of response maps by a walk inside each of them.

Shapes: R response maps of one image (H0, W0), (h, w) its stride-4 map, N instances.
"""

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from tris_core.refinement.random_walk import walk

STRIDE = 4
SEED_STRENGTH = 2.5


def find_centroids(displacement: NDArray[np.float32], iterations: int = 300) -> NDArray[np.int32]:
    """Where each pixel ends when it follows the field: (2, h, w) displacements (dy, dx) to (2, h, w) rows and columns.

    Every iteration adds the displacement found at the present place, interpolated bilinearly and held inside the map.
    """
    _, height, width = displacement.shape
    if not np.isfinite(displacement).all():
        raise ValueError("the displacement field has values that are not finite; look for a diverged IRN training")
    field = np.ascontiguousarray(displacement.reshape(2, -1).T, dtype=np.float32)
    bounds = np.array([height - 1, width - 1], np.float32)
    place = np.indices((height, width), np.float32).reshape(2, -1).T.copy()
    moving = np.arange(len(place))
    for _ in range(iterations):
        here = place[moving]
        there = np.clip(here + _bilinear(field, here, width, bounds), 0, bounds)
        place[moving] = there
        # the field is constant: what stood still once stands still for good
        moving = moving[(there != here).any(axis=1)]
        if not len(moving):
            break
    return np.round(place).astype(np.int32).T.reshape(2, height, width)


def _bilinear(
    field: NDArray[np.float32], place: NDArray[np.float32], width: int, bounds: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Values (n, 2) of the flattened field (h * w, 2) at rows and columns `place` (n, 2) within `bounds`."""
    low = np.floor(place)
    fraction = place - low
    y0, x0 = low.astype(np.int64).T
    y1, x1 = np.minimum(low + 1, bounds).astype(np.int64).T
    fy, fx = fraction[:, :1], fraction[:, 1:]
    top = field[y0 * width + x0] * (1 - fx) + field[y0 * width + x1] * fx
    bottom = field[y1 * width + x0] * (1 - fx) + field[y1 * width + x1] * fx
    value: NDArray[np.float32] = top * (1 - fy) + bottom * fy
    return value


def instance_maps(displacement: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Split the map (h, w) of a displacement field (2, h, w) into N >= 1 disjoint instances that cover it: (N, h, w).

    Seeds are the 4-connected regions of displacements shorter than 2.5 pixels. A pixel belongs to the seed its centroid
    falls on; those whose centroid falls on none form one more instance, the first. Seeds nothing falls on are left out.
    """
    seeds, _ = ndimage.label(np.hypot(displacement[0], displacement[1]) < SEED_STRENGTH)
    rows, columns = find_centroids(displacement)
    owner = seeds[rows, columns]
    maps: NDArray[np.bool_] = owner == np.unique(owner)[:, None, None]
    return maps


def refine_maps(
    cams: Tensor, edge: Tensor, displacement: Tensor, *, radius: int = 5, beta: float = 10, exp_times: int = 8
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
        raise ValueError(f"edge {height, width} is not the stride-{STRIDE} map of cams {tuple(cams.shape)}")
    small = F.interpolate(cams[None].float(), (height, width), mode="bilinear", align_corners=True)[0]
    masks = torch.from_numpy(instance_maps(displacement.float().cpu().numpy())).to(cams.device)
    walked = walk_instances(small, edge, masks, radius=radius, beta=beta, exp_times=exp_times)
    return torch.stack([_full_size(parts, cams.shape[1], cams.shape[2]) for parts in walked])


def walk_instances(cams: Tensor, edge: Tensor, masks: Tensor, *, radius: int, beta: float, exp_times: int) -> list[Tensor]:
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
