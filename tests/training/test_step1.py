"""Which sentences Eq. 7 sees, against a loop written from its words."""

import numpy as np
import pytest
import torch

from tests.data.test_samples import refs_of
from tests.pipeline.closure import ROOT
from tris_core.params.base import load_section
from tris_core.params.train_step1 import TrainStep1Params
from tris_core.training.step1 import classification_columns

PARAMS = load_section(ROOT / "presets" / "shapes.yaml", TrainStep1Params)


def with_negatives(**changes: object) -> TrainStep1Params:
    return PARAMS.model_copy(update={"cls_negatives": PARAMS.cls_negatives.model_copy(update=changes)})


@pytest.mark.parametrize("exclude", [False, True])
def test_batch_negatives_are_the_other_sentences_of_the_batch(exclude: bool) -> None:
    refs, batch = refs_of([0, 0, 1, 2]), np.array([0, 1, 3])
    params = with_negatives(source="batch", exclude_same_image=exclude)
    pool, columns, positive, counted = classification_columns(refs, batch, params, np.random.default_rng(0))
    assert len(pool) == 0
    assert columns.tolist() == [[0, 1, 2]] * 3
    assert positive.tolist() == [0, 1, 2]
    expected = [[True, not exclude, True], [not exclude, True, True], [True, True, True]]
    assert counted.tolist() == expected


@pytest.mark.parametrize(("size", "n"), [(2, 9), (4, 3)])
def test_dataset_negatives_do_not_depend_on_the_batch(size: int, n: int) -> None:
    refs, batch = refs_of(list(range(20))), np.arange(size)
    params = with_negatives(source="dataset", n=n, exclude_same_image=True)
    pool, columns, positive, counted = classification_columns(refs, batch, params, np.random.default_rng(0))
    assert columns.shape == counted.shape == (size, n + 1)
    assert positive.tolist() == [0] * size
    everyone = np.concatenate([batch, pool])
    for b in range(size):
        assert everyone[columns[b, 0]] == batch[b]
        assert everyone[columns[b, 1:]].tolist() == pool.tolist()
        same = refs.image[pool] == refs.image[batch[b]]
        assert counted[b, 1:].tolist() == (~same).tolist()
    assert counted[:, 0].all()
    assert torch.equal(counted, counted.bool())
