"""Choosing an epoch by the masks of the val split, as the release does (D25): the only training code that opens the truth.

Off by default (`selection: last`): a method that learns from sentences alone has no masks to choose by.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from tris_core.data.packed import PackedImages
from tris_core.evaluation import by_image, true_masks
from tris_core.metrics import ANY_RESPONSE, binarise, to_original
from tris_core.models.step1 import Step1
from tris_core.models.step2 import Step2
from tris_core.predictions import predict_by_image
from tris_core.responses import response_maps

STEP2_THRESHOLD = 0.0


@dataclass(frozen=True)
class Validation:
    """The expressions of val: `table` (expression_id, ref_id, image_id), the image row (L,) and token ids (L, T) of each.

    `truth` is indexed by ref_id. Thresholds are the released ones: any positive response, any positive logit.
    """

    table: pd.DataFrame
    images: PackedImages
    image_of: NDArray[np.int64]
    tokens: Tensor
    truth: pd.DataFrame
    device: torch.device
    precision: str

    def step1(self, model: Step1) -> float:
        """mIoU, in [0, 1], of the response maps."""
        ious = []
        made = response_maps(model, self.images, self.image_of, self.tokens, device=self.device, precision=self.precision)
        for rows, maps in made:
            part = self.table.iloc[rows].assign(
                height=maps.shape[1], width=maps.shape[2], map=list(maps.reshape(len(rows), -1))
            )
            for found, grown in by_image(part, self.truth, self.images.size):
                masks = true_masks(self.truth, found["ref_id"].to_numpy())
                ious.append(_iou(binarise(grown, ANY_RESPONSE).numpy(), masks))
        return float(np.concatenate(ious).mean())

    def step2(self, model: Step2) -> float:
        """mIoU, in [0, 1], of the predicted masks."""
        ious = []
        made = predict_by_image(model, self.images, self.image_of, self.tokens, device=self.device, precision=self.precision)
        for rows, small in made:
            masks = true_masks(self.truth, self.table["ref_id"].to_numpy()[rows])
            logits = to_original(small.cpu(), height=masks.shape[1], width=masks.shape[2])
            ious.append(_iou((logits > STEP2_THRESHOLD).numpy(), masks))
        return float(np.concatenate(ious).mean())


def _iou(predicted: NDArray[np.bool_], masks: NDArray[np.bool_]) -> NDArray[np.float64]:
    union = (predicted | masks).sum((1, 2))
    return (predicted & masks).sum((1, 2)) / np.maximum(union, 1)
