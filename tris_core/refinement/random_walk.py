"""Random walk of response maps along affinities (Ahn et al., CVPR 2019, sec. 5).

The transition matrix is sparse, and its power is applied by Chebyshev polynomials.
"""

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
    walked = _power(transition_matrix(edge, radius, beta), start, 2**exp_times)
    return walked[:, : len(cam)].T.reshape(cam.shape)


def transition_matrix(edge: Tensor, radius: int, beta: float) -> Tensor:
    """One step as a sparse CSR matrix (HW, HW) float32 that multiplies a column from the left.

    Every row sums to 1, and a pixel's affinity with itself is 1. The rows are the columns of the
    paper's T, which multiplies from the right.
    """
    reach = radius - 1
    # Padding lets every pixel be a source of the window; padded pixels are nobody's neighbours.
    affinity = edge_to_affinity(F.pad(edge, (reach, reach, 0, reach)), radius) ** beta
    height, width = edge.shape
    row_starts, columns, pairs, entries = _neighbours(height, width, radius, edge.device)
    weights = torch.cat([affinity.flatten(), affinity.new_tensor([0, 1])])[pairs]
    weights = (weights / weights.sum(dim=1, keepdim=True)).flatten()[entries]
    size = (len(pairs), len(pairs))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")
        return torch.sparse_csr_tensor(
            row_starts, columns, weights, size=size, check_invariants=False
        )


@lru_cache(maxsize=16)  # the images of a data set have a few sizes
def _neighbours(
    height: int, width: int, radius: int, device: torch.device
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The sparsity pattern of the transition matrix.

    A pixel has up to O neighbours, itself included, in P pairs of offsets.

    Returns:
        Row starts (HW + 1,) and columns (Z,) of the matrix, int32; the position (HW, O) of every
        weight in the flattened affinities (P, H, W) followed by a 0, for pixels outside the map,
        and a 1, for the pixel itself; and which of these HW * O weights are the entries (Z,) of
        the matrix, in its order.
    """
    number = {offset: p for p, offset in enumerate(search_paths(radius))}
    outside = len(number) * height * width
    itself = outside + 1
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    columns, pairs, inside = [], [], []
    offsets = {(0, 0), *number, *((-dy, -dx) for dy, dx in number)}
    for dy, dx in sorted(offsets):  # sorted, so that columns ascend within a row
        here, there = y * width + x, (y + dy) * width + x + dx
        if (dy, dx) == (0, 0):
            pair = torch.full_like(here, itself)
        elif (dy, dx) in number:
            pair = number[dy, dx] * height * width + here
        else:  # affinity is symmetric, and stored at the upper of the two pixels
            pair = number[-dy, -dx] * height * width + there
        inside.append((y + dy >= 0) & (y + dy < height) & (x + dx >= 0) & (x + dx < width))
        columns.append(there)
        pairs.append(pair.where(inside[-1], outside))
    kept, column, pair = (torch.stack(of, dim=2).flatten(0, 1) for of in (inside, columns, pairs))
    row_starts = F.pad(kept.sum(dim=1).cumsum(dim=0), (1, 0)).int()
    entries = kept.flatten().nonzero()[:, 0]
    column = column[kept].int()
    return row_starts.to(device), column.to(device), pair.to(device), entries.to(device)


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


def _power(matrix: Tensor, x: Tensor, power: int) -> Tensor:
    """matrix ** power @ x, by Chebyshev polynomials.

    The matrix is D^-1 A with A symmetric. It is similar to D^-1/2 A D^-1/2, so its eigenvalues are
    in [-1, 1], where |T_k| <= 1. The omitted coefficients therefore bound the error.
    """
    coefficients = chebyshev_coefficients(power)
    before, now = x, matrix @ x
    total = coefficients[0] * before + coefficients[1] * now
    for coefficient in coefficients[2:]:
        before, now = now, torch.addmm(before, matrix, now, beta=-1, alpha=2)
        if coefficient:
            total.add_(now, alpha=coefficient)
    return total.clamp_(min=0)  # rounding of the alternating sum can leave tiny negative values
