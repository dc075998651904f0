"""Eq. 6-8 against closed forms."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tris_core.step1.losses import (
    classification_loss,
    image_level_score,
    mask_size_term,
    negative_term,
    positive_term,
)

logits = hnp.arrays(np.float32, (2, 3, 2, 4), elements=st.floats(-8, 8, width=32))


@given(logits)
def test_score_is_maximum_plus_mean_plus_size_term(response: np.ndarray) -> None:
    r = torch.from_numpy(response)
    score = image_level_score(r)
    exp = np.exp(response.astype(np.float64))
    for b in range(2):
        for j in range(3):
            share = np.mean(exp[b, j] / (math.e + exp[b].sum(0)))
            psi = (1 - share) ** 3 * math.log(0.01 + share)
            assert score[b, j].item() == pytest.approx(
                response[b, j].max() + response[b, j].mean() + psi, abs=2e-4
            )


def test_size_term_punishes_an_empty_map() -> None:
    empty, half = torch.full((1, 1, 4, 4), -30.0), torch.full((1, 1, 4, 4), -30.0)
    half[..., :2, :] = 30.0
    kwargs = {"power": 3.0, "lam": 0.01, "background": 1.0}
    assert mask_size_term(empty, **kwargs).item() == pytest.approx(math.log(0.01), abs=1e-3)
    assert mask_size_term(half, **kwargs).item() == pytest.approx(0.5**3 * math.log(0.51), abs=1e-3)


def test_classification_loss_is_torch_multilabel_soft_margin() -> None:
    score = torch.randn(5, 7)
    positive = torch.tensor([0, 6, 3, 3, 1])
    target = torch.nn.functional.one_hot(positive, 7).float()
    counted = torch.ones(5, 7, dtype=torch.bool)
    expected = torch.nn.functional.multilabel_soft_margin_loss(score, target)
    torch.testing.assert_close(classification_loss(score, positive, counted), expected)


def test_uncounted_columns_do_not_change_the_loss() -> None:
    score, positive = torch.randn(3, 4), torch.tensor([0, 1, 2])
    counted = torch.ones(3, 4, dtype=torch.bool)
    counted[:, 3] = False
    wild = score.clone()
    wild[:, 3] = 1e4
    narrow = classification_loss(score[:, :3], positive, counted[:, :3])
    torch.testing.assert_close(classification_loss(wild, positive, counted), narrow)


def test_calibration_terms_equal_their_formulas() -> None:
    similarity = torch.tensor([0.5, 0.25])
    assert positive_term(similarity, eps=1e-4).item() == pytest.approx(
        -(math.log(0.5) + math.log(0.25)) / 2
    )
    negatives = torch.tensor([[0.5, 0.0], [0.75, -0.5]])
    logs = [[math.log(0.5), 0.0], [math.log(0.25), math.log(1.5)]]
    assert negative_term(negatives, eps=1e-4, reduction="sum").item() == pytest.approx(
        -np.sum(logs) / 2
    )
    assert negative_term(negatives, eps=1e-4, reduction="mean").item() == pytest.approx(
        -np.mean(logs)
    )


@pytest.mark.parametrize("value", [-1.0, 0.0, 1.0])
def test_calibration_stays_finite_at_the_ends_of_the_cosine(value: float) -> None:
    assert torch.isfinite(positive_term(torch.tensor([value]), eps=1e-4))
    assert torch.isfinite(negative_term(torch.tensor([[value]]), eps=1e-4, reduction="mean"))
