"""Response maps of many expressions: one pass of the image tower per image, every expression in a forward of its own."""

from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tris_core.data.grouping import RowsByImage
from tris_core.data.packed import PackedImages
from tris_core.data.transforms import normalise
from tris_core.runtime import distributed
from tris_core.runtime.device import autocast

GROUP = 16  # images of one forward, and of one row group of the file of responses


class Responder(Protocol):
    """A network that responds to expressions: `Step1`, or a baseline in its place. Shapes as in `Step1`."""

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
    precision: str,
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
    """Raw responses (before ReLU and up-sampling, Eq. 2) of expressions, some images at a time.

    `image_of` (L,) is the image row of every expression, `tokens` (L, T) its token ids; the model is on
    `device`. Yields the expressions' rows (P,) and their maps (P, H, W) float32, each row once; of several processes each
    does its share, and rank 0 gets all of them.
    """
    model.eval()

    def respond(rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        here, local = np.unique(image_of[rows], return_inverse=True)
        with torch.inference_mode(), autocast(device, precision):
            vis = model.encode_image(normalise(images[here].to(device)))
            lan = model.encode_text(tokens[rows].to(device))
            maps = model.respond_pairs(vis[torch.from_numpy(local).to(device)], lan)
        return rows, maps.float().cpu().numpy()

    return distributed.map_over_ranks(RowsByImage(image_of, GROUP), respond)
