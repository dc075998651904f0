"""Validation: which expressions count, and the mIoU of both steps against plain loops."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

from tests.support.tiny_index import EXPRESSIONS, REFS, make_truth
from tris_core.data.index import Index
from tris_core.data.rle import decode
from tris_core.data.truth import Truth
from tris_core.runtime.errors import InputError
from tris_core.step1.validation import validation_miou as step1_miou
from tris_core.step2.validation import validation_miou as step2_miou
from tris_core.training.validation import ValidationSet, validation_set

SIZE = 8
TABLE = EXPRESSIONS.merge(REFS, on="ref_id")
TRUTH = make_truth()
INDEX = Index.of(images=pd.DataFrame({"image_id": [1, 2, 3]}), refs=REFS, expressions=EXPRESSIONS)
TOKENS = torch.arange(len(TABLE) * 3).view(-1, 3)
ON_CPU: dict[str, Any] = {"device": torch.device("cpu"), "precision": "fp32"}


class Pictures:
    size = SIZE

    def __getitem__(self, rows: np.ndarray) -> Tensor:
        return torch.from_numpy(rows).to(torch.uint8).view(-1, 1, 1, 1).expand(-1, SIZE, SIZE, 3)


def validation() -> ValidationSet:
    return validation_set(Pictures(), INDEX, TOKENS, Truth(TRUTH))  # type: ignore[arg-type]


class Model:
    """Responses and logits that depend on nothing but the sentence's tokens."""

    pixels = None

    def eval(self) -> None: ...

    def encode_image(self, image: Tensor) -> Tensor:
        return image

    def encode_text(self, tokens: Tensor) -> Tensor:
        return tokens

    def respond_pairs(self, vis: Tensor, lan: Tensor) -> Tensor:
        return torch.stack([noise(row, 2) for row in lan])

    def segment(self, stages: Tensor, tokens: Tensor, size: int, image_of: Tensor) -> Tensor:
        return torch.stack([noise(row, size) for row in tokens])[:, None]


def noise(tokens: Tensor, side: int) -> Tensor:
    generator = torch.Generator().manual_seed(int(tokens[0]))
    return torch.randn(side, side, generator=generator)


def plain_miou(side: int, *, response: bool) -> float:
    """A loop over the expressions of val."""
    ious = []
    for row, expression in TABLE[TABLE["split"] == "val"].iterrows():
        true = TRUTH.set_index("ref_id").loc[expression["ref_id"]]
        mask = decode(true["counts"], true["height"], true["width"])
        logit = noise(TOKENS[row], side)[None, None]
        if response:
            grown = torch.nn.functional.interpolate(logit, (SIZE, SIZE), mode="bilinear")
            logit = grown.relu()
        full = torch.nn.functional.interpolate(
            logit, mask.shape, mode="bilinear", align_corners=True
        )[0, 0]
        full = full / (full.max() + 1e-5) if response else full
        predicted = (full > (1e-9 if response else 0)).numpy()
        ious.append((predicted & mask).sum() / (predicted | mask).sum())
    return float(np.mean(ious))


def test_step1_is_scored_by_the_masks_of_its_responses() -> None:
    found = step1_miou(validation(), Model(), **ON_CPU)  # type: ignore[arg-type]
    assert 0 < found < 1
    assert found == pytest.approx(plain_miou(2, response=True))


def test_step2_is_scored_by_its_masks() -> None:
    found = step2_miou(validation(), Model(), **ON_CPU)  # type: ignore[arg-type]
    assert 0 < found < 1
    assert found == pytest.approx(plain_miou(SIZE, response=False))


def test_only_expressions_of_val_with_a_true_mask_count() -> None:
    truth = Truth(TRUTH[TRUTH["ref_id"] != 11])
    val = validation_set(Pictures(), INDEX, TOKENS, truth)  # type: ignore[arg-type]
    expected = TABLE[(TABLE["split"] == "val") & (TABLE["ref_id"] != 11)]
    assert val.ref_ids.tolist() == expected["ref_id"].tolist()
    assert val.image_of.tolist() == (expected["image_id"] - 1).tolist()
    assert torch.equal(val.tokens, TOKENS[expected.index.to_numpy()])


def test_a_split_without_masks_is_refused() -> None:
    truth = Truth(TRUTH[TRUTH["ref_id"] == 13])
    with pytest.raises(InputError, match="val_mIoU needs true masks of split 'val'"):
        validation_set(Pictures(), INDEX, TOKENS, truth)  # type: ignore[arg-type]
