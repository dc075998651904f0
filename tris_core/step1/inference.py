"""Response maps of many expressions.

The image tower runs once per image, and every expression is scored in a forward of its own (see
`BilateralPrompt`).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tris_core.data.grouping import Rows, RowsByImage
from tris_core.data.packed import PackedImages
from tris_core.data.transforms import Pixels, normalise
from tris_core.runtime import distributed
from tris_core.runtime.device import autocast
from tris_core.runtime.params import Precision

GROUP = 16  # images per forward, and per row group of the responses file


class Responder(Protocol):
    """What responds to expressions: `Step1` or a baseline. Shapes as in `Step1`."""

    pixels: Pixels | None

    def eval(self) -> Any: ...
    def encode_image(self, image: Tensor) -> Tensor: ...
    def encode_text(self, tokens: Tensor) -> Tensor: ...
    def respond_pairs(self, vis_PCHW: Tensor, lan_PC: Tensor) -> Tensor: ...


def response_maps(
    model: Responder,
    images: PackedImages,
    image_of: NDArray[np.int64],
    tokens: Tensor,
    *,
    device: torch.device,
    precision: Precision,
) -> Iterator[tuple[Rows, NDArray[np.float32]]]:
    """Compute the raw responses (Eq. 2) of all expressions, `GROUP` images at a time.

    In a distributed run every rank computes its share, and rank 0 gets all of them.

    Args:
        model: The network, on `device`.
        images: All images at training size.
        image_of: Image row of each expression, (L,).
        tokens: Token ids, (L, T).
        device: Where to compute.
        precision: `fp32`, `tf32` or `bf16`.

    Yields:
        Rows (P,) of expressions and their maps (P, H, W) float32, before ReLU and up-sampling.
        Each row comes once.
    """
    model.eval()
    respond = Respond(model, images, image_of, tokens, device, precision)
    return distributed.map_over_ranks(RowsByImage(image_of, GROUP), respond)


@dataclass(frozen=True)
class Respond:
    """Computes the maps of the expressions `rows` (P,)."""

    model: Responder
    images: PackedImages
    image_of: Rows
    tokens: Tensor
    device: torch.device
    precision: Precision

    def __call__(self, rows: Rows) -> tuple[Rows, NDArray[np.float32]]:
        return rows, self.maps(rows).cpu().numpy()

    def maps(self, rows: Rows) -> Tensor:
        """The maps (P, H, W) float32, on the device."""
        image_rows, image_of = np.unique(self.image_of[rows], return_inverse=True)
        with torch.inference_mode(), autocast(self.device, self.precision):
            image = normalise(self.images[image_rows].to(self.device), self.model.pixels)
            vis = self.model.encode_image(image)
            lan = self.model.encode_text(self.tokens[rows].to(self.device))
            pairs = vis[torch.from_numpy(image_of).to(self.device)]
            return self.model.respond_pairs(pairs, lan).float()
