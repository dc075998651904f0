"""Validation by true masks, to choose the best weights of a training as the release does.

This is the only training code that opens the ground truth. It is off by default (`selection:
last`): a method that learns from sentences alone has no masks to choose by. See
docs/paper_vs_code.md#selection.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from tris_core.data.index import Index
from tris_core.data.maps import mask_iou
from tris_core.data.packed import PackedImages
from tris_core.data.truth import Truth
from tris_core.runtime.errors import InputError


@dataclass(frozen=True)
class ValidationSet:
    """The L expressions of a split that have a true mask.

    Attributes:
        images: All images at training size.
        image_of: Image row of each expression, (L,).
        tokens: Token ids, (L, T).
        ref_ids: Ref of each expression, (L,).
        truth: The true masks.
    """

    images: PackedImages
    image_of: NDArray[np.int64]
    tokens: Tensor
    ref_ids: NDArray[np.int64]
    truth: Truth

    def iou(self, row: int, mask: NDArray[np.bool_]) -> float:
        """IoU of a predicted `mask` (H, W) with the true one; 0 if both are empty."""
        return mask_iou(mask, self.truth.mask(self.ref_ids[row]))

    def size(self, row: int) -> tuple[int, int]:
        """Height and width of the expression's image."""
        return self.truth.size(self.ref_ids[row])


def validation_set(
    images: PackedImages, index: Index, tokens: Tensor, truth: Truth
) -> ValidationSet:
    """The expressions of `val` among those of all splits.

    Args:
        images: All images at training size.
        tokens: Token ids of every expression of the index, (all, T).

    Raises:
        InputError: `val` has no true masks.
    """
    table = index.joined()
    chosen = table[(table["split"] == "val") & truth.covers(table["ref_id"])]
    if chosen.empty:
        raise InputError(
            "selection: val_mIoU needs true masks of split 'val', there are none; "
            "use selection: last"
        )
    rows = chosen.index.to_numpy()
    image_of = index.image_rows(chosen["image_id"])
    return ValidationSet(images, image_of, tokens[rows], chosen["ref_id"].to_numpy(), truth)
