"""Random walk of response maps along affinities (Ahn et al., CVPR 2019, sec. 5), without a dense transition matrix."""

import warnings

import numpy as np
import torch
import torch.nn.functional as F
from scipy.special import gammaln
from torch import Tensor

from tris_core.refinement.affinity import edge_to_affinity, search_paths


def walk(cam: Tensor, edge: Tensor, *, radius: int = 5, beta: float = 10, exp_times: int = 8) -> Tensor:
    """Walk maps `cam` (K, H, W) over the boundary probabilities `edge` (H, W) in [0, 1]: (K, H, W) float32.

    A step replaces a value by the mean of its neighbourhood weighted by affinity ** beta; 2 ** exp_times steps are
    taken from cam * (1 - edge). All K maps walk at once. Pixels outside the map are no neighbours.
    """
    if cam.shape[1:] != edge.shape:
        raise ValueError(f"cam {tuple(cam.shape)} and edge {tuple(edge.shape)} differ in size; resize one to the other")
    edge = edge.float()
    start = (cam.float() * (1 - edge)).flatten(1).T.contiguous()
    walked = _power(transition_matrix(edge, radius, beta), start, 2**exp_times)
    return walked.T.reshape(cam.shape)


def transition_matrix(edge: Tensor, radius: int, beta: float) -> Tensor:
    """One step as a sparse CSR matrix (HW, HW) float32 to multiply a column from the left; every row sums to 1.

    A pixel's own affinity is 1. Rows are the columns of the paper's T, which multiplies from the right.
    """
    height, width = edge.shape
    reach = radius - 1
    # edges of 1 around the map cut whatever leaves it, and make every pixel a source of the window
    below = edge_to_affinity(F.pad(edge, (reach, reach, 0, reach), value=1.0), radius) ** beta
    neighbours = {(0, 0): torch.ones_like(edge)}
    for offset, affinity in zip(search_paths(radius), below, strict=True):
        neighbours[offset] = affinity
        neighbours[-offset[0], -offset[1]] = _moved(affinity, offset)
    # by row, then column, so that the column numbers of a matrix row ascend
    offsets = sorted(neighbours)
    weights = torch.stack([neighbours[offset] for offset in offsets], dim=-1).flatten(0, 1)
    dy, dx = torch.tensor(offsets, device=edge.device).T
    y = torch.arange(height, device=edge.device)[:, None, None] + dy
    x = torch.arange(width, device=edge.device)[:, None] + dx
    inside = ((y >= 0) & (y < height) & (x >= 0) & (x < width)).flatten(0, 1)
    columns = (y * width + x).flatten(0, 1)[inside]
    row_starts = F.pad(inside.sum(dim=1).cumsum(dim=0), (1, 0))
    weights = weights / weights.sum(dim=1, keepdim=True)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")
        return torch.sparse_csr_tensor(
            row_starts.int(), columns.int(), weights[inside], size=(edge.numel(), edge.numel()), check_invariants=False
        )


def chebyshev_coefficients(power: int, tolerance: float = 1e-7) -> list[float]:
    """Coefficients c_k with z ** power = sum_k c_k T_k(z) on [-1, 1], cut where the rest adds less than `tolerance`.

    c_k = 2 ** (1 - n) C(n, (n - k) / 2) for k of the parity of n, c_0 half of it: the chance that n fair steps of +-1
    end k from the start. For n = 256, k up to 84 remain: 84 matrix products replace 256.
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
        before, now = now, 2 * (matrix @ now) - before
        if coefficient:
            total += coefficient * now
    # the rounding of the alternating sum may leave tiny negative values
    return total.clamp_(min=0)


def _moved(x: Tensor, offset: tuple[int, int]) -> Tensor:
    """(H, W) moved down and right by `offset`, zeros moving in."""
    height, width = x.shape
    dy, dx = offset
    return F.pad(x, (max(dx, 0), max(-dx, 0), max(dy, 0), 0))[:height, max(-dx, 0) : max(-dx, 0) + width]
