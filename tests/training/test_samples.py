"""Batches are functions of the step, and drawing does not cost more with more data."""

import tracemalloc

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages._training import length
from tests.support.refs import refs_of
from tris_core.data.index import Index
from tris_core.training.samples import TrainingRefs


def test_from_index_selects_a_split_and_its_sentences() -> None:
    images = pd.DataFrame({"image_id": [7, 9]})
    refs = pd.DataFrame(
        {
            "ref_id": [1, 2, 3],
            "image_id": [9, 7, 9],
            "ann_id": [5, 6, 5],
            "split": ["train", "val", "train"],
        }
    )
    expressions = pd.DataFrame(
        {
            "expression_id": [10, 11, 12, 13],
            "ref_id": [1, 1, 2, 3],
            "text": ["left", "dog", "left", "Left"],
        }
    )
    index = Index.of(images=images, refs=refs, expressions=expressions)
    train = TrainingRefs.from_index(index, "train")
    assert train.ref_id.tolist() == [1, 3]
    assert train.image.tolist() == [1, 1]
    assert train.object.tolist() == [5, 5], "two refs of one annotation"
    assert (train.start.tolist(), train.count.tolist()) == ([0, 3], [2, 1])
    said = train.sentence.tolist()
    assert said[0] == said[2]
    assert len(set(said)) == 3


@settings(deadline=None)
@given(st.integers(2, 40), st.integers(2, 12), st.integers(0, 5))
def test_an_epoch_is_every_ref_at_most_once(n: int, size: int, seed: int) -> None:
    refs = refs_of(list(range(n)))
    per_epoch = n // min(size, n)
    drawn = np.concatenate([refs.batch(step, size, seed) for step in range(per_epoch)])
    assert len(set(drawn.tolist())) == len(drawn) == per_epoch * min(size, n)
    assert np.array_equal(refs.batch(3, size, seed), refs.batch(3, size, seed))


@settings(deadline=None)
@given(st.lists(st.integers(0, 9), min_size=2, max_size=40), st.integers(2, 12), st.integers(0, 5))
def test_refs_of_an_image_come_together(images: list[int], size: int, seed: int) -> None:
    refs = refs_of(images)
    per_epoch = len(images) // min(size, len(images))
    steps = [refs.batch(step, size, seed, by_image=True) for step in range(per_epoch)]
    drawn = np.concatenate(steps)
    assert len(set(drawn.tolist())) == len(drawn) == per_epoch * min(size, len(images))
    of_drawn = refs.image[drawn]
    changes = 1 + np.count_nonzero(np.diff(of_drawn))
    assert changes == len(np.unique(of_drawn)), "an image comes once"
    if len(set(images)) > 4:
        orders = {tuple(refs.batch(per_epoch * e, size, seed, by_image=True)) for e in range(9)}
        assert len(orders) > 1, "every epoch has an order of its own"


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


def test_the_rows_of_chosen_refs_are_their_sentences() -> None:
    index = Index.of(
        images=pd.DataFrame({"image_id": [1]}),
        refs=pd.DataFrame({"ref_id": [0, 1, 2], "image_id": 1, "ann_id": [0, 1, 2], "split": "a"}),
        expressions=pd.DataFrame({"ref_id": [0, 1, 1, 1, 2, 2], "text": list("abcdef")}),
    )
    refs = TrainingRefs.from_index(index, "a")
    assert refs.rows(np.array([False, True, True])).tolist() == [1, 2, 3, 4, 5]
    assert refs.rows(np.array([True, False, True])).tolist() == [0, 4, 5]
    assert refs.rows(np.zeros(3, bool)).tolist() == []


def test_a_batch_allocates_nothing_as_large_as_the_data_set() -> None:
    """The permutation of an epoch (8 MB here) is made once."""
    refs = refs_of([0] * 1_000_000, sentences=1)
    for by_image in (False, True):
        refs.batch(0, 48, seed=0, by_image=by_image)
    tracemalloc.start()
    for step in range(1, 5):
        refs.draw_text(refs.batch(step, 48, seed=0), np.random.default_rng(step))
        refs.batch(step, 48, seed=0, by_image=True)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 200_000


def test_the_closing_line_names_the_batch_that_was_drawn() -> None:
    assert length(100, 32, 1094) == "100 steps of 32 on 1094 refs"
    assert length(1, 48, 7) == "1 step of 7 (not 48, there are no more) on 7 refs"
