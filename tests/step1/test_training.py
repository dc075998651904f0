"""Which sentences Eq. 7 sees, against a loop written from its words; and the scorer's features of sentences."""

import numpy as np
import pytest
import torch

from tests.support.closure import ROOT
from tests.support.refs import refs_of
from tris_core.clip.towers import build_clip
from tris_core.runtime.params import read_params
from tris_core.step1.negatives import classification_columns
from tris_core.step1.params import TrainStep1Params
from tris_core.step1.scorer import SentenceFeatures
from tris_core.weights.clip_spec import ClipConfig

PARAMS = read_params(ROOT / "presets" / "shapes.yaml")[TrainStep1Params]
TINY = {
    "embed_dim": 16,
    "vision_cfg": {"layers": [1, 1, 1, 1], "width": 8, "image_size": 32},
    "text_cfg": {"context_length": 6, "width": 16, "heads": 2, "layers": 1, "vocab_size": 50},
    "quick_gelu": False,
}


def with_negatives(**changes: object) -> TrainStep1Params:
    return PARAMS.model_copy(
        update={"cls_negatives": PARAMS.cls_negatives.model_copy(update=changes)}
    )


@pytest.mark.parametrize("exclude", [False, True])
def test_batch_negatives_are_the_other_sentences_of_the_batch(exclude: bool) -> None:
    refs, batch = refs_of([0, 0, 1, 2]), np.array([0, 1, 3])
    params = with_negatives(source="batch", exclude_same_image=exclude)
    pool, columns, positive, counted = classification_columns(
        refs, batch, params, np.random.default_rng(0)
    )
    assert len(pool) == 0
    assert columns.tolist() == [[0, 1, 2]] * 3
    assert positive.tolist() == [0, 1, 2]
    expected = [[True, not exclude, True], [not exclude, True, True], [True, True, True]]
    assert counted.tolist() == expected


@pytest.mark.parametrize(("size", "n"), [(2, 9), (4, 3)])
def test_dataset_negatives_do_not_depend_on_the_batch(size: int, n: int) -> None:
    refs, batch = refs_of(list(range(20))), np.arange(size)
    params = with_negatives(source="dataset", n=n, exclude_same_image=True)
    pool, columns, positive, counted = classification_columns(
        refs, batch, params, np.random.default_rng(0)
    )
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


@pytest.mark.parametrize("rows", [np.array([3]), np.array([[0, 599], [7, 7]])])
def test_features_beyond_the_budget_are_those_of_the_table(rows: np.ndarray) -> None:
    torch.manual_seed(0)
    scorer = build_clip(ClipConfig.model_validate(TINY)).eval()
    tokens, cpu = torch.randint(1, 49, (600, 6), dtype=torch.int32), torch.device("cpu")
    width = scorer.text_projection.shape[1]
    table = SentenceFeatures(scorer, tokens, cpu, budget=600 * width * 4)
    encoded: list[int] = []
    scorer.token_embedding.register_forward_hook(
        lambda module, args, out: encoded.append(len(args[0]))
    )
    found = table[rows]
    assert not encoded, "looked up"
    at_need = SentenceFeatures(scorer, tokens, cpu, budget=600 * width * 4 - 1)
    assert not encoded, "nothing is encoded before it is asked for"
    assert torch.allclose(at_need[rows], found, atol=1e-6)
    assert encoded == [rows.size]
    assert found.shape == (*rows.shape, width)
    assert torch.allclose(found.norm(dim=-1), torch.ones(rows.shape))
    assert not at_need[rows].requires_grad
    assert table.describe() == "600 sentences encoded once, a table of 0 MB"
    assert at_need.describe() == "600 sentences encoded at each use, their table would take 0 MB"
