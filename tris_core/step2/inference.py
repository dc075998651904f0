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
from tris_core.runtime.threads import map_in_threads
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
            of the finest head, on the CPU. Several threads call it.
        device: Where to compute.
        precision: `fp32`, `tf32` or `bf16`.

    Yields:
        What `keep` returned, for each image.
    """
    model.eval()
    predict = Predict(model, images, image_of, tokens, keep, device, precision)
    turn = predict.one_batch if device.type == "cuda" else predict.side_by_side
    for results in distributed.map_over_ranks(RowsByImage(image_of, TURN), turn):
        yield from results


@dataclass(frozen=True)
class Predict(Generic[R]):
    """Predicts a turn of images, from the rows (N,) of their expressions, image by image."""

    model: Step2
    images: PackedImages
    image_of: Rows
    tokens: Tensor
    keep: Callable[[Rows, Tensor], R]
    device: torch.device
    precision: Precision

    def side_by_side(self, rows: Rows) -> list[R]:
        """Each image in a thread with a core of its own, for CPUs."""
        parts = self._parts(rows)
        return list(map_in_threads(lambda part: self.keep(part, self._logits(part)), parts))

    def one_batch(self, rows: Rows) -> list[R]:
        """All images in one batch, for GPUs; threads then keep the results."""
        parts = self._parts(rows)
        logits = self._logits(rows).split([len(part) for part in parts])
        return list(map_in_threads(lambda pair: self.keep(*pair), zip(parts, logits, strict=True)))

    def _parts(self, rows: Rows) -> list[Rows]:
        """The rows of each image."""
        return np.split(rows, np.flatnonzero(np.diff(self.image_of[rows])) + 1)

    @torch.inference_mode()
    def _logits(self, rows: Rows) -> Tensor:
        """Logits (N, S, S) of `rows` (N,), on the CPU."""
        image_rows, image_of = np.unique(self.image_of[rows], return_inverse=True)
        with autocast(self.device, self.precision):
            squares = self.images[image_rows].to(self.device)
            stages = self.model.encode_image(normalise(squares, self.model.pixels))
            logits = self.model.segment(
                stages,
                self.tokens[rows].to(self.device),
                self.images.size,
                torch.from_numpy(image_of).to(self.device),
            )
        return logits[:, 0].float().cpu()


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
