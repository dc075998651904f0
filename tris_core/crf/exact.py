"""The dense CRF of `tris_core.crf.lattice` with exact filters, for a GPU.

Shapes: N masks of an image of H W = P pixels.
"""

import math

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from tris_core.crf.kernels import APPEARANCE, COLOUR, NEAR, SMOOTHNESS, WIDE
from tris_core.runtime.device import exact_products

ENTRIES = 2**26  # of the kernel at a time, for its row sums
ALIGNED = 8  # attention on a GPU takes features and values in eights


class ExactCRF:
    """The CRF of an image; all its masks are refined together.

    Both filters are symmetrically normalised Gaussian kernels, D^-1/2 K D^-1/2 with the row sums D
    of K. The time grows with the square of the number of pixels.

    Args:
        image: (H, W, 3) uint8.
        iterations, gt_prob: See `LatticeCRF`.
        device: Where to compute.
    """

    def __init__(
        self, image: NDArray[np.uint8], *, iterations: int, gt_prob: float, device: torch.device
    ) -> None:
        self._iterations, self._gt_prob = iterations, gt_prob
        self._shape, self._device = image.shape[:2], device
        self._rows, self._columns = (_smoothing(side, device) for side in self._shape)
        with exact_products(device):
            f_PD = _features(image, device)
            self._root = _row_sums(f_PD).sqrt()[:, None]
            # The soft-max of f_i . f_j - |f_j|^2 / 2 over j is K with its rows divided by D.
            self._query = _aligned(torch.cat([f_PD, torch.ones_like(f_PD[:, :1])], dim=1))
            norms = f_PD.square().sum(1, keepdim=True)
            self._key = _aligned(torch.cat([f_PD, -norms / 2], dim=1))
            ones = torch.ones(1, *self._shape, device=device)
            self._ones = SMOOTHNESS * self._smooth(ones) + APPEARANCE * self._alike(ones)

    def __call__(self, masks: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Refine masks (N, H, W)."""
        refined: NDArray[np.bool_] = (self.odds(masks) > 0).cpu().numpy()
        return refined

    @torch.inference_mode()
    def odds(self, masks: NDArray[np.bool_]) -> Tensor:
        """Log-odds (N, H, W) of the foreground, float32."""
        sign = torch.from_numpy(masks).to(self._device).float() * 2 - 1
        unary = sign * math.log(self._gt_prob / (1 - self._gt_prob))  # log-odds of the foreground
        odds = unary
        with exact_products(self._device):
            for _ in range(self._iterations):
                q = odds.sigmoid()
                message = SMOOTHNESS * self._smooth(q) + APPEARANCE * self._alike(q)
                odds = unary + 2 * message - self._ones  # from foreground less from background
        return odds

    def _smooth(self, x_NHW: Tensor) -> Tensor:
        """The kernel in position alone is a product of one per axis."""
        return self._rows @ x_NHW @ self._columns

    def _alike(self, x_NHW: Tensor) -> Tensor:
        """The kernel in position and colour, as attention."""
        value_PN = _aligned(x_NHW.flatten(1).T / self._root)
        query, key, value = (x[None, None] for x in (self._query, self._key, value_PN))
        attended = F.scaled_dot_product_attention(query, key, value, scale=1.0)[0, 0]
        return (attended * self._root)[:, : len(x_NHW)].T.unflatten(1, self._shape)


def _smoothing(side: int, device: torch.device) -> Tensor:
    """The normalised kernel along one axis, (side, side)."""
    x = torch.arange(side, dtype=torch.float64) / NEAR
    kernel = torch.exp(-(x[:, None] - x).square() / 2)
    root = kernel.sum(1).sqrt()
    return (kernel / root[:, None] / root).float().to(device)


def _features(image: NDArray[np.uint8], device: torch.device) -> Tensor:
    """Position and colour of every pixel (P, 5) in deviations, from their centre."""
    height, width = image.shape[:2]
    y, x = np.mgrid[:height, :width]
    place = np.stack([x, y], axis=2).reshape(-1, 2) / WIDE
    found = np.concatenate([place, image.reshape(-1, 3) / COLOUR], axis=1)
    return torch.from_numpy(found - found.mean(axis=0)).float().to(device)


def _row_sums(features_PD: Tensor) -> Tensor:
    """sum_j exp(-|f_i - f_j|^2 / 2) of every pixel, (P,)."""
    half = features_PD.square().sum(1) / 2
    rows = max(1, ENTRIES // len(features_PD))
    sums = [
        (part @ features_PD.T - half - part.square().sum(1, keepdim=True) / 2).exp().sum(1)
        for part in features_PD.split(rows)
    ]
    return torch.cat(sums)


def _aligned(x_PD: Tensor) -> Tensor:
    return F.pad(x_PD, (0, -x_PD.shape[1] % ALIGNED))
