"""Batches are functions of the step, and drawing does not cost more with more data."""

import tracemalloc

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.refs import refs_of
from tris_core.data.index import Index
from tris_core.step1.negatives import CalibrationNegatives
from tris_core.training.samples import Rows, TrainingRefs


def test_from_index_selects_a_split_and_its_sentences() -> None:
    images = pd.DataFrame({"image_id": [7, 9]})
    refs = pd.DataFrame(
        {"ref_id": [1, 2, 3], "image_id": [9, 7, 9], "split": ["train", "val", "train"]}
    )
    expressions = pd.DataFrame({"expression_id": [10, 11, 12, 13], "ref_id": [1, 1, 2, 3]})
    index = Index.of(images=images, refs=refs, expressions=expressions)
    train = TrainingRefs.from_index(index, "train")
    assert train.ref_id.tolist() == [1, 3]
    assert train.image.tolist() == [1, 1]
    assert (train.start.tolist(), train.count.tolist()) == ([0, 3], [2, 1])


@settings(deadline=None)
@given(st.integers(2, 40), st.integers(2, 12), st.integers(0, 5))
def test_an_epoch_is_every_ref_at_most_once(n: int, size: int, seed: int) -> None:
    refs = refs_of(list(range(n)))
    per_epoch = n // min(size, n)
    drawn = np.concatenate([refs.batch(step, size, seed) for step in range(per_epoch)])
    assert len(set(drawn.tolist())) == len(drawn) == per_epoch * min(size, n)
    assert np.array_equal(refs.batch(3, size, seed), refs.batch(3, size, seed))


@settings(deadline=None)
@given(
    st.lists(st.integers(0, 3), min_size=2, max_size=12),
    st.sampled_from(["if_none", "up_to_k"]),
    st.integers(0, 9),
)
def test_calibration_negatives_never_describe_the_ref_itself(
    images: list[int], fill: str, seed: int
) -> None:
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
            assert sorted(set(inside)) == sorted(inside), (
                "an object of the image is drawn at most once"
            )
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


class PlainNegatives:
    """`CalibrationNegatives` as a scan of all refs for every draw."""

    def __init__(self, refs: TrainingRefs, k: int, fill: str) -> None:
        self.refs, self.k, self.fill = refs, k, fill

    def draw(self, batch: Rows, rng: np.random.Generator) -> Rows:
        return np.stack([self.refs.draw_text(self.chosen(ref, rng), rng) for ref in batch])

    def chosen(self, ref: int, rng: np.random.Generator) -> Rows:
        same = self.refs.image == self.refs.image[ref]
        others = np.flatnonzero(same & (np.arange(len(same)) != ref))
        outside = np.flatnonzero(~same)
        if self.fill == "if_none" and len(others):
            return rng.choice(others, self.k)
        chosen = rng.permutation(others)[: self.k] if self.fill == "up_to_k" else others
        n = self.k - len(chosen)
        return np.concatenate(
            [chosen, rng.choice(outside, n) if len(outside) else rng.integers(len(same), size=n)]
        )


@settings(deadline=None)
@given(
    images=st.lists(st.integers(0, 6), min_size=1, max_size=40),
    fill=st.sampled_from(["if_none", "up_to_k"]),
    k=st.integers(1, 6),
    seed=st.integers(0, 99),
)
def test_calibration_negatives_equal_a_scan_of_all_refs(
    images: list[int], fill: str, k: int, seed: int
) -> None:
    refs, batch = refs_of(images, sentences=3), np.arange(len(images))
    ours, plain = np.random.default_rng(seed), np.random.default_rng(seed)
    expected = PlainNegatives(refs, k, fill).draw(batch, plain)
    assert np.array_equal(CalibrationNegatives(refs, k, fill).draw(batch, ours), expected)
    assert ours.random() == plain.random(), "the generators must be in the same state afterwards"


@settings(deadline=None)
@given(images=st.lists(st.integers(0, 9), min_size=1, max_size=30), seed=st.integers(0, 99))
def test_shuffled_sentences_equal_a_table_of_images(images: list[int], seed: int) -> None:
    distinct = np.unique(images)
    order = np.random.default_rng(seed).permutation(distinct)
    moved = dict(zip(order, np.roll(order, 1), strict=True))
    assert refs_of(images).with_shuffled_sentences(seed).image.tolist() == [
        moved[image] for image in images
    ]


@settings(deadline=None)
@given(
    n=st.integers(1, 30),
    size=st.integers(1, 40),
    seed=st.integers(0, 5),
    steps=st.permutations(range(60)),
)
def test_a_batch_does_not_depend_on_the_steps_before_it(
    n: int, size: int, seed: int, steps: list[int]
) -> None:
    """Whatever the order of steps, as with a resumed training or prefetching."""
    refs, size_ = refs_of(list(range(n))), min(n, size)
    for step in steps:
        epoch, first = step // (n // size_), step % (n // size_) * size_
        expected = np.random.default_rng([seed, 0, epoch]).permutation(n)[first : first + size_]
        assert np.array_equal(refs.batch(step, size, seed), expected)


def test_a_step_allocates_nothing_as_large_as_the_data_set() -> None:
    """No permutation (8 MB here) and no scan of all refs (1 MB)."""
    count = 1_000_000
    refs = TrainingRefs(
        np.arange(count), np.arange(count) // 2, np.arange(count), np.ones(count, np.int64)
    )
    negatives = CalibrationNegatives(refs, 6, "up_to_k")
    refs.batch(0, 48, seed=0)
    tracemalloc.start()
    for step in range(1, 5):
        negatives.draw(refs.batch(step, 48, seed=0), np.random.default_rng(step))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 200_000
