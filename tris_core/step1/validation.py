"""mIoU of Step-1's response maps on the validation set, to choose the best weights."""

import math
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from tris_core.data.maps import binarise, normalised_at
from tris_core.runtime.params import Precision
from tris_core.runtime.threads import map_in_threads
from tris_core.step1.inference import response_maps
from tris_core.step1.network import Step1
from tris_core.training.validation import ValidationSet


def validation_miou(
    val: ValidationSet, model: Step1, device: torch.device, precision: Precision
) -> float:
    """mIoU in [0, 1] at the released threshold: any positive response. NaN except on rank 0."""
    groups = response_maps(
        model, val.images, val.image_of, val.tokens, device=device, precision=precision
    )
    ious: list[float] = []
    for rows, maps in groups:
        ious += map_in_threads(partial(_response_iou, val), zip(rows, maps, strict=True))
    return float(np.mean(ious)) if ious else math.nan


def _response_iou(val: ValidationSet, response: tuple[int, NDArray[np.float32]]) -> float:
    row, raw = response
    height, width = val.size(row)
    maps = normalised_at(
        torch.from_numpy(raw)[None], size=val.images.size, height=height, width=width
    )
    return val.iou(row, binarise(maps)[0].numpy())
