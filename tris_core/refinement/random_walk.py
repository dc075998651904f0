"""Random walk of response maps along affinities (Ahn et al., CVPR 2019, sec. 5), without a dense transition matrix."""

import warnings
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from scipy.special import gammaln
from torch import Tensor

from tris_core.irn.affinity import edge_to_affinity, search_paths


def walk(
    cam: Tensor, edge: Tensor, *, radius: int = 5, beta: float = 10, exp_times: int = 8
) -> Tensor:
    """Walk maps `cam` (K, H, W) over the boundary probabilities `edge` (H, W) in [0, 1]: (K, H, W) float32.

    A step replaces a value by the mean of its neighbourhood weighted by affinity ** beta; 2 ** exp_times steps are
    taken from cam * (1 - edge). All K maps walk at once. Pixels outside the map are no neighbours.
    """
    if cam.shape[1:] != edge.shape:
        raise ValueError(
            f"cam {tuple(cam.shape)} and edge {tuple(edge.shape)} differ in size; resize one to the other"
        )
    edge = edge.float()
    start = (cam.float() * (1 - edge)).flatten(1).T
    start = F.pad(start, (0, -len(cam) % 4))  # sparse products are fastest with columns in fours
    walked = _power(transition_matrix(edge, radius, beta), start, 2**exp_times)
    return walked[:, : len(cam)].T.reshape(cam.shape)


def transition_matrix(edge: Tensor, radius: int, beta: float) -> Tensor:
    """One step as a sparse CSR matrix (HW, HW) float32 to multiply a column from the left; every row sums to 1.

    A pixel's own affinity is 1. Rows are the columns of the paper's T, which multiplies from the right.
    """
    reach = radius - 1
    # the padding makes every pixel a source of the window; what lies there is no neighbour of any
    affinity = edge_to_affinity(F.pad(edge, (reach, reach, 0, reach)), radius) ** beta
    row_starts, columns, pairs, entries = _neighbours(*edge.shape, radius, edge.device)
    weights = torch.cat([affinity.flatten(), affinity.new_tensor([0, 1])])[pairs]
    weights = (weights / weights.sum(dim=1, keepdim=True)).flatten()[entries]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")
        return torch.sparse_csr_tensor(
            row_starts, columns, weights, size=(len(pairs), len(pairs)), check_invariants=False
        )


@lru_cache(maxsize=16)  # the images of a data set have a few sizes
def _neighbours(
    height: int, width: int, radius: int, device: torch.device
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Who is whose neighbour in a map of P pairs and up to O neighbours of a pixel, itself included.

    Row starts (HW + 1,) and columns (Z,) of the matrix, int32; where every pixel's weights lie (HW, O) in the flattened
    affinities (P, H, W) followed by a 0, for what is outside the map, and a 1, for the pixel itself; and which of these
    HW * O places are entries of the matrix (Z,), in its order.
    """
    number = {offset: p for p, offset in enumerate(search_paths(radius))}
    nothing = len(number) * height * width
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    columns, pairs, inside = [], [], []
    for dy, dx in sorted(
        {(0, 0), *number, *((-dy, -dx) for dy, dx in number)}
    ):  # so that columns ascend within a row
        here, there = y * width + x, (y + dy) * width + x + dx
        if (dy, dx) == (0, 0):
            pair = torch.full_like(here, nothing + 1)
        elif (dy, dx) in number:
            pair = number[dy, dx] * height * width + here
        else:  # affinity is symmetric, and kept at the upper of the two pixels
            pair = number[-dy, -dx] * height * width + there
        inside.append((y + dy >= 0) & (y + dy < height) & (x + dx >= 0) & (x + dx < width))
        columns.append(there)
        pairs.append(pair.where(inside[-1], nothing))
    kept, column, pair = (torch.stack(of, dim=2).flatten(0, 1) for of in (inside, columns, pairs))
    row_starts = F.pad(kept.sum(dim=1).cumsum(dim=0), (1, 0))
    entries = kept.flatten().nonzero()[:, 0]
    return (
        row_starts.int().to(device),
        column[kept].int().to(device),
        pair.to(device),
        entries.to(device),
    )


def chebyshev_coefficients(power: int, tolerance: float = 1e-5) -> list[float]:
    """Coefficients c_k with z ** power = sum_k c_k T_k(z) on [-1, 1], cut where the rest adds less than `tolerance`.

    c_k = 2 ** (1 - n) C(n, (n - k) / 2) for k of the parity of n, c_0 half of it: the chance that n fair steps of +-1
    end k from the start. For n = 256, k up to 70 remain: 70 matrix products replace 256, and what is
    cut off is less than float32 rounds away.
    """
    k = np.arange(power + 1)
    log_choose = gammaln(power + 1) - gammaln((power - k) / 2 + 1) - gammaln((power + k) / 2 + 1)
    coefficients = np.where((power - k) % 2 == 0, np.exp(log_choose - power * np.log(2)), 0.0)
    coefficients[1:] *= 2
    rest = coefficients[::-1].cumsum()[::-1]
    return coefficients[: int((rest > tolerance).sum())].tolist()


def _power(matrix: Tensor, x: Tensor, power: int) -> Tensor:
    """matrix ** power @ x, by Chebyshev polynomials.

    The matrix is D^-1 A with A symmetric, similar to D^-1/2 A D^-1/2, whose eigenvalues lie in [-1, 1]: there
    |T_k| <= 1, and the coefficients left out bound the error.
    """
    coefficients = chebyshev_coefficients(power)
    before, now = x, matrix @ x
    total = coefficients[0] * before + coefficients[1] * now
    for coefficient in coefficients[2:]:
        before, now = now, torch.addmm(before, matrix, now, beta=-1, alpha=2)
        if coefficient:
            total.add_(now, alpha=coefficient)
    # the rounding of the alternating sum may leave tiny negative values
    return total.clamp_(min=0)
