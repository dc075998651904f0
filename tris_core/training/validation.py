"""Choosing an epoch by the masks of the val split, as the release does (D25): the only training code that opens the truth.

Off by default (`selection: last`): a method that learns from sentences alone has no masks to choose by.
"""

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from tris_core.data.maps import binarise, mask_iou, normalised_at, to_original
from tris_core.data.packed import PackedImages
from tris_core.data.truth import Truth
from tris_core.runtime.errors import InputError
from tris_core.runtime.threads import map_in_threads
from tris_core.step1.inference import response_maps
from tris_core.step1.network import Step1
from tris_core.step2.inference import predict_by_image
from tris_core.step2.network import Step2


@dataclass(frozen=True)
class Validation:
    """The expressions to choose by: image row (L,), token ids (L, T) and ref_id (L,) of each.

    Thresholds are the released ones: any positive response, any positive logit.
    """

    images: PackedImages
    image_of: NDArray[np.int64]
    tokens: Tensor
    ref_ids: NDArray[np.int64]
    truth: Truth
    device: torch.device
    precision: str

    @staticmethod
    def of_split(
        split: str, table: pd.DataFrame, image_of: NDArray[np.int64], tokens: Tensor, truth: Truth,
        images: PackedImages, device: torch.device, precision: str,
    ) -> "Validation":  # fmt: skip
        """From `table` (L rows: ref_id, split) of all expressions.

        Raises `InputError` for a split without masks.
        """
        rows = np.flatnonzero((table["split"] == split) & truth.covers(table["ref_id"]))
        if not len(rows):
            raise InputError(
                f"selection: val_mIoU needs true masks of split {split!r}, there are none; use selection: last"
            )
        ref_ids = table["ref_id"].to_numpy()[rows]
        return Validation(images, image_of[rows], tokens[rows], ref_ids, truth, device, precision)

    def step1(self, model: Step1) -> float:
        """mIoU, in [0, 1], of the response maps; NaN but on rank 0."""
        made = response_maps(
            model,
            self.images,
            self.image_of,
            self.tokens,
            device=self.device,
            precision=self.precision,
        )

        def judge(pair: tuple[int, NDArray[np.float32]]) -> float:
            row, raw = pair
            true = self._mask(row)
            height, width = true.shape
            maps = normalised_at(
                torch.from_numpy(raw)[None], size=self.images.size, height=height, width=width
            )
            return mask_iou(binarise(maps)[0].numpy(), true)

        return _mean(
            [
                iou
                for rows, maps in made
                for iou in map_in_threads(judge, zip(rows, maps, strict=True))
            ]
        )

    def step2(self, model: Step2) -> float:
        """mIoU, in [0, 1], of the predicted masks; NaN but on rank 0."""

        def judge(pair: tuple[int, Tensor]) -> float:
            row, logits = pair
            true = self._mask(row)
            predicted = to_original(logits[None], height=true.shape[0], width=true.shape[1])[0] > 0
            return mask_iou(predicted.numpy(), true)

        def judge_all(rows: NDArray[np.int64], logits: Tensor) -> list[float]:
            return list(map_in_threads(judge, zip(rows, logits.cpu(), strict=True)))

        made = predict_by_image(
            model,
            self.images,
            self.image_of,
            self.tokens,
            judge_all,
            device=self.device,
            precision=self.precision,
        )
        return _mean([iou for ious in made for iou in ious])

    def _mask(self, row: int) -> NDArray[np.bool_]:
        return self.truth.mask(self.ref_ids[row])


def _mean(ious: list[float]) -> float:
    return float(np.mean(ious)) if ious else math.nan
