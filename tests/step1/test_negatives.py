"""Negatives of Eq. 7 and Eq. 8 against loops over all refs."""

import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.refs import refs_of
from tris_core.step1.negatives import POOL, CalibrationNegatives, Columns, classification_columns
from tris_core.step1.params import ClsNegatives
from tris_core.training.samples import Rows, TrainingRefs


def columns_of(refs: TrainingRefs, batch: Rows, own: Rows, seed: int = 0, **params: Any) -> Columns:
    defaults = {"source": "batch", "n": 3, "exclude_same_image": False, "exclude_duplicates": False}
    chosen = ClsNegatives.model_validate({**defaults, **params})
    return classification_columns(refs, batch, own, chosen, np.random.default_rng(seed))


@pytest.mark.parametrize("exclude", [False, True])
def test_batch_negatives_are_the_other_sentences_of_the_batch(exclude: bool) -> None:
    refs, batch = refs_of([0, 0, 1, 2]), np.array([0, 1, 3])
    made = columns_of(refs, batch, 2 * batch, exclude_same_image=exclude)
    assert len(made.extra) == 0
    assert made.columns.tolist() == [[0, 1, 2]] * 3
    assert made.positive.tolist() == [0, 1, 2]
    expected = [[True, not exclude, True], [not exclude, True, True], [True, True, True]]
    assert made.counted.tolist() == expected


def test_a_sentence_about_the_same_object_is_no_negative() -> None:
    """Refs 0 and 2 are about one region, as ReferIt has them."""
    refs, batch = refs_of([0, 0, 0, 1], objects=[7, 8, 7, 9]), np.arange(4)
    counted = columns_of(refs, batch, 2 * batch).counted
    expected = np.ones((4, 4), bool)
    expected[0, 2] = expected[2, 0] = False
    np.testing.assert_array_equal(counted.numpy(), expected)


@pytest.mark.parametrize("exclude", [False, True])
def test_equal_sentences_of_other_refs_are_left_out_on_request(exclude: bool) -> None:
    refs, batch = refs_of([0, 1, 2], sentences=1, said=[5, 6, 5]), np.arange(3)
    counted = columns_of(refs, batch, batch, exclude_duplicates=exclude).counted
    expected = np.ones((3, 3), bool)
    expected[0, 2] = expected[2, 0] = not exclude
    np.testing.assert_array_equal(counted.numpy(), expected)


@settings(deadline=None)
@given(
    images=st.lists(st.integers(0, 9), min_size=6, max_size=70),
    n=st.integers(0, 60),
    same_image=st.booleans(),
    duplicates=st.booleans(),
    seed=st.integers(0, 99),
)
def test_each_image_draws_its_own_negatives_of_the_data_set(
    images: list[int], n: int, same_image: bool, duplicates: bool, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    said = rng.integers(0, 60, size=2 * len(images)).tolist()
    objects = [image * 3 + int(rng.integers(3)) for image in images]
    refs = refs_of(images, objects=objects, said=said)
    batch = rng.permutation(len(images))[:4]
    own = refs.draw_text(batch, rng)
    made = columns_of(
        refs, batch, own, seed,
        source="dataset", n=n, exclude_same_image=same_image, exclude_duplicates=duplicates,
    )  # fmt: skip
    pool = made.extra // 2  # two sentences a ref
    assert len(set(pool) | set(batch)) == len(pool) + 4, "a ref comes once"
    assert len(pool) == min(max(n, POOL), len(images) - 4)
    everyone, texts = np.concatenate([batch, pool]), np.concatenate([own, made.extra])
    assert made.columns.shape == (4, 1 + min(n, len(everyone) - 1))
    for b, ref in enumerate(batch):
        first, *others = made.columns[b].tolist()
        assert (first, made.positive[b].item()) == (b, 0)
        assert len({b, *others}) == 1 + len(others), "without replacement"
        fit = [
            objects[everyone[at]] != objects[ref]
            and not (same_image and images[everyone[at]] == images[ref])
            and not (duplicates and said[texts[at]] == said[own[b]])
            for at in range(len(everyone))
        ]
        assert made.counted[b].tolist() == [True, *(fit[at] for at in others)]
        assert sum(fit[at] for at in others) == min(n, sum(fit)), "others only if these run out"


def test_one_negative_per_image_is_not_the_same_for_all() -> None:
    """It would be if a step drew n = 1 sentence for its whole batch."""
    refs, batch = refs_of(list(range(300))), np.arange(48)
    chosen = columns_of(refs, batch, 2 * batch, source="dataset", n=1).columns[:, 1]
    assert len(chosen.unique()) > 20
    assert (chosen < 48).any()
    assert (chosen >= 48).any()


class PlainNegatives:
    """`CalibrationNegatives` as a scan of all refs for every draw."""

    def __init__(self, refs: TrainingRefs, k: int, fill: str) -> None:
        self.refs, self.k, self.fill = refs, k, fill

    def draw(self, batch: Rows, rng: np.random.Generator) -> Rows:
        return np.stack([self.refs.draw_text(self.chosen(ref, rng), rng) for ref in batch])

    def chosen(self, ref: int, rng: np.random.Generator) -> Rows:
        same = self.refs.image == self.refs.image[ref]
        others = np.flatnonzero(same & (self.refs.object != self.refs.object[ref]))
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
    regions=st.integers(1, 40),
    fill=st.sampled_from(["if_none", "up_to_k"]),
    k=st.integers(1, 6),
    seed=st.integers(0, 99),
)
def test_calibration_negatives_equal_a_scan_of_all_refs(
    images: list[int], regions: int, fill: str, k: int, seed: int
) -> None:
    """All sentences differ, so nothing is drawn again."""
    objects = [100 * image + at % regions for at, image in enumerate(images)]
    refs, batch = refs_of(images, sentences=3, objects=objects), np.arange(len(images))
    ours, plain = np.random.default_rng(seed), np.random.default_rng(seed)
    expected = PlainNegatives(refs, k, fill).draw(batch, plain)
    if len(set(images)) > 1:
        found = CalibrationNegatives(refs, k, fill).draw(batch, 3 * batch, ours)
        assert np.array_equal(found, expected)
        assert ours.random() == plain.random(), "the generators must be in the same state"


@settings(deadline=None)
@given(
    images=st.lists(st.integers(0, 3), min_size=1, max_size=12),
    fill=st.sampled_from(["if_none", "up_to_k"]),
    strings=st.integers(1, 6),
    seed=st.integers(0, 99),
)
def test_a_filler_is_never_the_positives_own_sentence(
    images: list[int], fill: str, strings: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    said = rng.integers(0, strings, size=2 * len(images)).tolist()
    refs, batch = refs_of(images, said=said), np.arange(len(images))
    own = refs.draw_text(batch, rng)
    drawn = CalibrationNegatives(refs, 4, fill).draw(batch, own, rng)
    assert drawn.shape == (len(images), 4)
    for ref, text, rows in zip(batch, own, drawn, strict=True):
        inside = [row for row in rows if images[row // 2] == images[ref]]
        others = [at for at, image in enumerate(images) if image == images[ref] and at != ref]
        elsewhere = [row for row in range(len(said)) if images[row // 2] != images[ref]]
        if not elsewhere:
            elsewhere, inside = list(range(len(said))), []
        else:
            wanted = 4 if fill == "if_none" and others else min(4, len(others))
            assert len(inside) == wanted
            assert ref not in [row // 2 for row in rows]
            if fill == "up_to_k":
                assert len({row // 2 for row in inside}) == len(inside), "an object at most once"
        fillers = rows[len(inside) :] if inside or len(others) == 0 else []
        if any(said[row] != said[text] for row in elsewhere):
            assert all(said[row] != said[text] for row in fillers)


def test_a_step_allocates_nothing_as_large_as_the_data_set() -> None:
    """No scan of all refs (1 MB)."""
    refs = refs_of([at // 2 for at in range(1_000_000)], sentences=1)
    negatives = CalibrationNegatives(refs, 6, "up_to_k")
    batch = np.arange(0, 480, 10)
    tracemalloc.start()
    for step in range(1, 5):
        negatives.draw(batch, batch, np.random.default_rng(step))
        columns_of(refs, batch, batch, step, source="dataset", n=47)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 500_000
