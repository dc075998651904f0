"""Step-2's masks of many expressions. The image tower runs once per image."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from tris_core.data.grouping import Rows, RowsByImage
from tris_core.data.maps import first_maxima, to_original
from tris_core.data.packed import PackedImages
from tris_core.data.rle import encode
from tris_core.data.transforms import normalise
from tris_core.runtime import distributed
from tris_core.runtime.device import autocast
from tris_core.runtime.params import Precision
from tris_core.runtime.threads import side_by_side
from tris_core.step2.network import Step2

TURN = 16  # images a rank predicts before the ranks exchange results
R = TypeVar("R")


def predict_by_image(
    model: Step2,
    images: PackedImages,
    image_of: NDArray[np.int64],
    tokens: Tensor,
    keep: Callable[[Rows, Tensor], R],
    *,
    device: torch.device,
    precision: Precision,
) -> Iterator[R]:
    """Compute the logits of all expressions and reduce them with `keep`, image by image.

    In a distributed run every rank predicts its share, and rank 0 gets all results.

    Args:
        model: The network, on `device`.
        images: All images at training size, S pixels.
        image_of: Image row of each expression, (L,).
        tokens: Token ids, (L, T).
        keep: Called with the rows (N,) of an image's expressions and the logits (N, S, S) float32
            of the finest head, on `device`. On a CPU several threads call it.
        device: Where to compute.
        precision: `fp32`, `tf32` or `bf16`.

    Yields:
        What `keep` returned, for each image.
    """
    model.eval()
    predict = _Predict(model, images, image_of, tokens, keep, device, precision)
    by_image = RowsByImage(image_of)
    turns = range(0, len(by_image), TURN)
    for results in distributed.map_over_ranks(turns, _PredictTurn(predict, by_image)):
        yield from results


@dataclass(frozen=True)
class _Predict(Generic[R]):
    """Predicts the expressions `rows`, all of one image."""

    model: Step2
    images: PackedImages
    image_of: Rows
    tokens: Tensor
    keep: Callable[[Rows, Tensor], R]
    device: torch.device
    precision: Precision

    def __call__(self, rows: Rows) -> R:
        with torch.inference_mode(), autocast(self.device, self.precision):
            square = self.images[self.image_of[rows[:1]]].to(self.device)
            image = normalise(square, self.model.pixels)
            stages = self.model.encode_image(image)
            logits = self.model.segment(stages, self.tokens[rows].to(self.device), self.images.size)
        return self.keep(rows, logits[:, 0].float())


@dataclass(frozen=True)
class _PredictTurn(Generic[R]):
    """Predicts `TURN` images from the number `first` on, on a CPU each in a thread."""

    predict: _Predict[R]
    by_image: RowsByImage

    def __call__(self, first: int) -> list[R]:
        last = min(first + TURN, len(self.by_image))
        turn = (self.by_image[number] for number in range(first, last))
        return list(side_by_side(self.predict, turn, self.predict.device))


def to_rows(
    expression_ids: NDArray[np.int64], logits: Tensor, *, height: int, width: int, threshold: float
) -> pd.DataFrame:
    """The predictions table of one image, one row per expression.

    Logits are resized to the image's own size before they are compared with `threshold`, see
    docs/paper_vs_code.md#evaluation-size.

    Args:
        expression_ids: Ids of the N expressions.
        logits: Logits at training size, (N, S, S).
        height: Height of the image.
        width: Width of the image.
        threshold: A pixel is in the mask if its logit is greater.

    Returns:
        expression_id; height, width and counts of the mask; score, the highest probability; x and
        y, the first pixel that has it.

    Raises:
        ValueError: A logit is NaN.
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
