"""Response maps of many expressions: one pass of the image tower per image, every expression in a forward of its own."""

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tris_core.data.packed import PackedImages
from tris_core.images import normalise
from tris_core.models.step1 import Step1
from tris_core.training.engine import autocast


@torch.inference_mode()
def response_maps(
    model: Step1,
    images: PackedImages,
    image_of: NDArray[np.int64],
    tokens: Tensor,
    *,
    device: torch.device,
    precision: str,
    batch: int = 16,
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
    """Raw responses (before ReLU and up-sampling, Eq. 2) of expressions, some images at a time.

    `image_of` (L,) is the image row of every expression, `tokens` (L, T) its token ids; the model is on
    `device`. Yields the expressions' rows (P,)
    and their maps (P, H, W) float32, each row once.
    """
    model.eval()
    order = np.argsort(image_of, kind="stable")
    distinct, start = np.unique(image_of[order], return_index=True)
    stop = np.append(start[1:], len(order))
    for first in range(0, len(distinct), batch):
        part = slice(first, first + batch)
        rows = order[start[part][0] : stop[part][-1]]
        with autocast(device, precision):
            vis = model.encode_image(normalise(images[distinct[part]].to(device)))
            lan = model.encode_text(tokens[rows].to(device))
            local = torch.from_numpy(np.searchsorted(distinct[part], image_of[rows])).to(device)
            maps = model.respond_pairs(vis[local], lan)
        yield rows, maps.float().cpu().numpy()
