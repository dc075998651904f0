"""Batches are functions of the step, and negatives are negatives."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tris_core.data.samples import CalibrationNegatives, TrainingRefs


def refs_of(images: list[int], sentences: int = 2) -> TrainingRefs:
    n = len(images)
    start = np.arange(n) * sentences
    return TrainingRefs(np.arange(n) + 100, np.array(images), start, np.full(n, sentences))


def test_from_index_keeps_one_split_and_finds_its_sentences() -> None:
    images = pd.DataFrame({"image_id": [7, 9]})
    refs = pd.DataFrame({"ref_id": [1, 2, 3], "image_id": [9, 7, 9], "split": ["train", "val", "train"]})
    expressions = pd.DataFrame({"expression_id": [10, 11, 12, 13], "ref_id": [1, 1, 2, 3]})
    train = TrainingRefs.from_index(images, refs, expressions, "train")
    assert train.ref_id.tolist() == [1, 3]
    assert train.image.tolist() == [1, 1]
    assert (train.start.tolist(), train.count.tolist()) == ([0, 3], [2, 1])


@given(st.integers(2, 40), st.integers(2, 12), st.integers(0, 5))
def test_an_epoch_is_every_ref_at_most_once(n: int, size: int, seed: int) -> None:
    refs = refs_of(list(range(n)))
    per_epoch = n // min(size, n)
    drawn = np.concatenate([refs.batch(step, size, seed) for step in range(per_epoch)])
    assert len(set(drawn.tolist())) == len(drawn) == per_epoch * min(size, n)
    assert np.array_equal(refs.batch(3, size, seed), refs.batch(3, size, seed))


@given(st.lists(st.integers(0, 3), min_size=2, max_size=12), st.sampled_from(["if_none", "up_to_k"]), st.integers(0, 9))
def test_calibration_negatives_never_describe_the_ref_itself(images: list[int], fill: str, seed: int) -> None:
    refs = refs_of(images)
    batch = np.arange(len(images))
    drawn = CalibrationNegatives(refs, 4, fill).draw(batch, np.random.default_rng(seed))
    assert drawn.shape == (len(images), 4)
    owner = drawn // 2
    for ref, owners in zip(batch.tolist(), owner.tolist(), strict=True):
        same = [i for i, image in enumerate(images) if image == images[ref] and i != ref]
        elsewhere = [i for i, image in enumerate(images) if image != images[ref]]
        inside = [o for o in owners if o in same]
        if elsewhere:
            assert ref not in owners
        if fill == "if_none" and same:
            assert len(inside) == 4
        if fill == "up_to_k" and elsewhere:
            assert sorted(set(inside)) == sorted(inside), "an object of the image is drawn at most once"
            assert len(inside) == min(4, len(same))


def test_shuffled_sentences_belong_to_another_image() -> None:
    refs = refs_of([0, 0, 1, 2, 2, 3])
    shuffled = refs.with_shuffled_sentences(seed=1)
    assert (shuffled.image != refs.image).all()
    assert sorted(set(shuffled.image.tolist())) == [0, 1, 2, 3]
    assert np.array_equal(shuffled.start, refs.start)


@pytest.mark.parametrize("seed", range(3))
def test_every_sentence_of_a_ref_is_drawn(seed: int) -> None:
    refs = refs_of([0, 1], sentences=3)
    rng = np.random.default_rng(seed)
    drawn = {int(row) for _ in range(60) for row in refs.draw_text(np.array([1]), rng)}
    assert drawn == {3, 4, 5}
