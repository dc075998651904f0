"""Choosing weights by validation masks, where `selection: val_mIoU` asks for it."""

import pandas as pd
import torch
from torch import Tensor

from stages._inputs import expressions_with_images
from stages._paths import TRUTH
from tris_core.data.packed import PackedImages
from tris_core.params.optim import Training
from tris_core.parquet import read_table
from tris_core.training.selection import Validation


def validation(
    params: Training, images: pd.DataFrame, packed: PackedImages, tokens: Tensor, device: torch.device
) -> Validation:
    """The expressions of val with their masks, to choose an epoch by: all that `selection: val_mIoU` needs."""
    table, image_of = expressions_with_images(images)
    truth = read_table(TRUTH).set_index("ref_id")
    return Validation.of_split("val", table, image_of, tokens, truth, packed, device, params.precision)
