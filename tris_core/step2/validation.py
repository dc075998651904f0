"""mIoU of Step-2's masks on the validation set, to choose the best weights."""

import math
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tris_core.data.maps import to_original
from tris_core.runtime.params import Precision
from tris_core.step2.inference import predict_by_image
from tris_core.step2.network import Step2
from tris_core.training.validation import ValidationSet


def validation_miou(
    val: ValidationSet, model: Step2, device: torch.device, precision: Precision
) -> float:
    """mIoU in [0, 1] at the released threshold: any positive logit. NaN except on rank 0."""
    by_image = predict_by_image(
        model, val.images, val.image_of, val.tokens, partial(_ious, val),
        device=device, precision=precision,
    )  # fmt: skip
    ious = [iou for image in by_image for iou in image]
    return float(np.mean(ious)) if ious else math.nan


def _ious(val: ValidationSet, rows: NDArray[np.int64], logits: Tensor) -> list[float]:
    return [_iou(val, row, logit) for row, logit in zip(rows.tolist(), logits, strict=True)]


def _iou(val: ValidationSet, row: int, logit: Tensor) -> float:
    height, width = val.size(row)
    return val.iou(row, (to_original(logit[None], height=height, width=width)[0] > 0).numpy())
