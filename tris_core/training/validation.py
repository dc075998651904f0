"""Validation by true masks, to choose the best weights of a training as the release does.

This is the only training code that opens the ground truth. It is off by default (`selection:
last`): a method that learns from sentences alone has no masks to choose by. See
docs/paper_vs_code.md#selection.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from torch import Tensor

from tris_core.data.packed import PackedImages
from tris_core.data.rle import decode
from tris_core.runtime.errors import InputError
from tris_core.runtime.frames import ready


@dataclass(frozen=True)
class ValidationSet:
    """The L expressions of a split that have a true mask.

    Attributes:
        images: All images at training size.
        image_of: Image row of each expression, (L,).
        tokens: Token ids, (L, T).
        truth: True mask of each expression: counts, height, width.
    """

    images: PackedImages
    image_of: NDArray[np.int64]
    tokens: Tensor
    truth: pd.DataFrame

    def iou(self, row: int, mask: NDArray[np.bool_]) -> float:
        """IoU of a predicted `mask` (H, W) with the true one; 0 if both are empty."""
        true = self.truth.iloc[row]
        true_mask = decode(true["counts"], true["height"], true["width"])
        return float((mask & true_mask).sum() / max(1, (mask | true_mask).sum()))

    def size(self, row: int) -> tuple[int, int]:
        """Height and width of the expression's image."""
        true = self.truth.iloc[row]
        return int(true["height"]), int(true["width"])


def validation_set(
    images: PackedImages,
    table: pd.DataFrame,
    image_of: NDArray[np.int64],
    tokens: Tensor,
    truth: pd.DataFrame,
) -> ValidationSet:
    """Select the expressions of `val` from those of all splits.

    Args:
        images: All images at training size.
        table: All expressions: ref_id, split.
        image_of: Image row of each expression.
        tokens: Token ids of each expression, (all, T).
        truth: True masks by ref_id: counts, height, width.

    Raises:
        InputError: `val` has no true masks.
    """
    rows = np.flatnonzero((table["split"] == "val") & table["ref_id"].isin(truth.index))
    if not len(rows):
        raise InputError(
            "selection: val_mIoU needs true masks of split 'val', there are none; "
            "use selection: last"
        )
    masks = truth.loc[table["ref_id"].iloc[rows]]
    ready(masks)  # threads look rows up
    return ValidationSet(images, image_of[rows], tokens[rows], masks)
