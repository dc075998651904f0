"""Random walk of response maps along affinities (Ahn et al., CVPR 2019, sec. 5).

The transition matrix is sparse, and its power is applied by Chebyshev polynomials.
"""

import warnings
from functools import lru_cache
from typing import NamedTuple, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from scipy.special import gammaln
from torch import Tensor

from tris_core.irn.affinity import edge_to_affinity, search_paths


def walk(
    cam: Tensor, edge: Tensor, *, radius: int = 5, beta: float = 10, exp_times: int = 8
) -> Tensor:
    """Walk K maps at once.

    Starting from cam * (1 - edge), each of 2 ** exp_times steps replaces a value by the mean of its
    neighbourhood, weighted by affinity ** beta. Pixels outside the map are not neighbours.

    Args:
        cam: (K, H, W).
        edge: boundary probabilities (H, W) in [0, 1].
        radius: of the neighbourhood, in pixels.

    Returns:
        (K, H, W) float32.

    Raises:
        ValueError: if `cam` and `edge` differ in size.
    """
    if cam.shape[1:] != edge.shape:
        found = f"cam {tuple(cam.shape)} and edge {tuple(edge.shape)} differ in size"
        raise ValueError(f"{found}; resize one to the other")
    edge = edge.float()
    start = (cam.float() * (1 - edge)).flatten(1).T
    start = F.pad(start, (0, -len(cam) % 4))  # sparse products are fastest with columns in fours
    form = sparse_step if edge.device.type == "cpu" else gathered_step
    walked = _power(form(edge, radius, beta), start, 2**exp_times)
    return walked[:, : len(cam)].T.reshape(cam.shape)


class Step(Protocol):
    """A step of the walk: the transition matrix M times x (HW, K), or 2 M x - `before`."""

    def __call__(self, x: Tensor, before: Tensor | None = None) -> Tensor: ...


def sparse_step(edge: Tensor, radius: int, beta: float) -> Step:
    """A sparse product, for CPUs."""
    matrix = transition_matrix(edge, radius, beta)

    def step(x: Tensor, before: Tensor | None = None) -> Tensor:
        return matrix @ x if before is None else torch.addmm(before, matrix, x, beta=-1, alpha=2)

    return step


def gathered_step(edge: Tensor, radius: int, beta: float) -> Step:
    """Every pixel gathers its neighbours, for GPUs, whose sparse products do not repeat."""
    weights = _weights(edge, radius, beta)[..., None]
    neighbours = _neighbours(*edge.shape, radius, edge.device).pixel

    def step(x: Tensor, before: Tensor | None = None) -> Tensor:
        moved = (weights * x[neighbours]).sum(dim=1)
        return moved if before is None else 2 * moved - before

    return step


def transition_matrix(edge: Tensor, radius: int, beta: float) -> Tensor:
    """One step as a sparse CSR matrix (HW, HW) float32 that multiplies a column from the left.

    Every row sums to 1, and a pixel's affinity with itself is 1. The rows are the columns of the
    paper's T, which multiplies from the right.
    """
    weights = _weights(edge, radius, beta)
    row_starts, columns, entries = _pattern(*edge.shape, radius)
    size = (len(weights), len(weights))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")
        return torch.sparse_csr_tensor(
            row_starts, columns, weights.flatten()[entries], size=size, check_invariants=False
        )


def _weights(edge: Tensor, radius: int, beta: float) -> Tensor:
    """How a step mixes every pixel's neighbours, (HW, O); a row sums to 1."""
    reach = radius - 1
    # Padding lets every pixel be a source of the window; padded pixels are nobody's neighbours.
    affinity = edge_to_affinity(F.pad(edge, (reach, reach, 0, reach)), radius) ** beta
    pair = _neighbours(*edge.shape, radius, edge.device).pair
    ends = torch.arange(2, dtype=affinity.dtype, device=edge.device)
    weights = torch.cat([affinity.flatten(), ends])[pair]
    return weights / weights.sum(dim=1, keepdim=True)


class Neighbours(NamedTuple):
    """The O neighbours of every pixel, itself included, in the order of their positions.

    Attributes:
        pixel: Their numbers (HW, O); the pixel's own for those outside the map.
        inside: Whether they are in the map, (HW, O).
        pair: The position of their affinity in the flattened affinities (P, H, W) followed by a 0,
            for neighbours outside the map, and a 1, for the pixel itself; (HW, O).
    """

    pixel: Tensor
    inside: Tensor
    pair: Tensor


@lru_cache(maxsize=16)  # the images of a data set have a few sizes
def _neighbours(height: int, width: int, radius: int, device: torch.device) -> Neighbours:
    number = {offset: p for p, offset in enumerate(search_paths(radius))}
    outside = len(number) * height * width
    itself = outside + 1
    rows, columns = (torch.arange(side, device=device) for side in (height, width))
    y, x = torch.meshgrid(rows, columns, indexing="ij")
    pixels, pairs, insides = [], [], []
    offsets = {(0, 0), *number, *((-dy, -dx) for dy, dx in number)}
    for dy, dx in sorted(offsets):  # sorted, so that columns ascend within a row
        here, there = y * width + x, (y + dy) * width + x + dx
        if (dy, dx) == (0, 0):
            pair = torch.full_like(here, itself)
        elif (dy, dx) in number:
            pair = number[dy, dx] * height * width + here
        else:  # affinity is symmetric, and stored at the upper of the two pixels
            pair = number[-dy, -dx] * height * width + there
        inside = (y + dy >= 0) & (y + dy < height) & (x + dx >= 0) & (x + dx < width)
        pixels.append(there.where(inside, here))
        insides.append(inside)
        pairs.append(pair.where(inside, outside))
    pixel, inside, pair = (torch.stack(of, dim=2).flatten(0, 1) for of in (pixels, insides, pairs))
    return Neighbours(pixel, inside, pair)


@lru_cache(maxsize=16)
def _pattern(height: int, width: int, radius: int) -> tuple[Tensor, Tensor, Tensor]:
    """The sparsity pattern of the transition matrix, on the CPU.

    Returns:
        Row starts (HW + 1,) and columns (Z,), int32; and which of the HW * O weights are the
        entries (Z,) of the matrix, in its order.
    """
    pixel, inside, _ = _neighbours(height, width, radius, torch.device("cpu"))
    row_starts = F.pad(inside.sum(dim=1).cumsum(dim=0), (1, 0)).int()
    return row_starts, pixel[inside].int(), inside.flatten().nonzero()[:, 0]


def chebyshev_coefficients(power: int, tolerance: float = 1e-5) -> list[float]:
    """Coefficients c_k with z ** power = sum_k c_k T_k(z) on [-1, 1], up to `tolerance`.

    c_k = 2 ** (1 - n) C(n, (n - k) / 2) for k of the parity of n, and half of it for k = 0: the
    probability that n fair steps of +-1 end k away from the start. For n = 256, k up to 70 remain,
    so 70 matrix products replace 256. The rest is below the rounding of float32.
    """
    k = np.arange(power + 1)
    log_choose = gammaln(power + 1) - gammaln((power - k) / 2 + 1) - gammaln((power + k) / 2 + 1)
    coefficients = np.where((power - k) % 2 == 0, np.exp(log_choose - power * np.log(2)), 0.0)
    coefficients[1:] *= 2
    rest = coefficients[::-1].cumsum()[::-1]
    return coefficients[: int((rest > tolerance).sum())].tolist()


def _power(step: Step, x: Tensor, power: int) -> Tensor:
    """`power` steps from x, by Chebyshev polynomials of the transition matrix.

    The matrix is D^-1 A with A symmetric. It is similar to D^-1/2 A D^-1/2, so its eigenvalues are
    in [-1, 1], where |T_k| <= 1. The omitted coefficients therefore bound the error.
    """
    coefficients = chebyshev_coefficients(power)
    before, now = x, step(x)
    total = coefficients[0] * before + coefficients[1] * now
    for coefficient in coefficients[2:]:
        before, now = now, step(now, before)
        if coefficient:
            total.add_(now, alpha=coefficient)
    return total.clamp_(min=0)  # rounding of the alternating sum can leave tiny negative values
