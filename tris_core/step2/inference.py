"""Step-2's logits for many expressions, one pass of the image tower per image, and what is kept of them."""

from collections.abc import Callable, Iterator
from typing import TypeVar

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from tris_core.data.grouping import RowsByImage
from tris_core.data.maps import first_maxima, to_original
from tris_core.data.packed import PackedImages
from tris_core.data.rle import encode
from tris_core.data.transforms import normalise
from tris_core.runtime import distributed
from tris_core.runtime.device import autocast
from tris_core.runtime.threads import side_by_side
from tris_core.step2.network import Step2

TURN = 16  # images that a process predicts between two meetings with the others
R = TypeVar("R")


def predict_by_image(
    model: Step2,
    images: PackedImages,
    image_of: NDArray[np.int64],
    tokens: Tensor,
    keep: Callable[[NDArray[np.int64], Tensor], R],
    *,
    device: torch.device,
    precision: str,
) -> Iterator[R]:
    """What `keep` makes of the finest head's logits, image by image.

    `image_of` (L,) is the image row of every expression, `tokens` (L, T) its token ids; the model is on `device`. `keep` gets
    the rows (N,) of an image's expressions and their logits (N, S, S) float32 on `device`, in a thread of its own on a CPU; of
    several processes each does its share, and rank 0 gets all results.
    """
    model.eval()

    def predict(rows: NDArray[np.int64]) -> R:
        with torch.inference_mode(), autocast(device, precision):
            stages = model.encode_image(normalise(images[image_of[rows[:1]]].to(device)))
            logits = model.segment(stages, tokens[rows].to(device), images.size)
        return keep(rows, logits[:, 0].float())

    by_image = RowsByImage(image_of)

    def predict_turn(first: int) -> list[R]:
        turn = (by_image[number] for number in range(first, min(first + TURN, len(by_image))))
        return list(side_by_side(predict, turn, device))

    for made in distributed.map_over_ranks(range(0, len(by_image), TURN), predict_turn):
        yield from made


def to_rows(
    expression_ids: NDArray[np.int64], logits: Tensor, *, height: int, width: int, threshold: float
) -> pd.DataFrame:
    """What is kept of logits (N, S, S) of one image of `height` and `width`: one row per expression.

    Columns: expression_id; height, width, counts, the mask where the logit at the image's own size is over `threshold`
    (D51); score, the highest probability; x, y, the pixel that has it. Raises ValueError for logits that hold NaN.
    """
    full = to_original(logits, height=height, width=width)
    points = first_maxima(expression_ids, full.numpy())
    return pd.DataFrame(
        {
            "expression_id": expression_ids,
            "height": height,
            "width": width,
            "counts": [encode(mask) for mask in (full > threshold).numpy()],
            "score": torch.sigmoid(full.amax((1, 2))).numpy(),
            "x": points[:, 0],
            "y": points[:, 1],
        }
    )
