"""Intervals over seeds and images, against scipy's Welch test, closed forms and simulated truth."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from tris_core.reports.statistics import Sample, decided, difference, holm

Floats = NDArray[np.float64]


def sample(values: Floats) -> Sample:
    """Runs (S, I) with one sentence an image."""
    return Sample.of(values, np.ones_like(values))


def seeds_only(mean: float, deviation: float, n: int, images: int = 50) -> Sample:
    """Runs with this mean and deviation. All images move together, so they add no doubt."""
    steps = np.linspace(-1, 1, n)
    values = mean + deviation * steps / steps.std(ddof=1)
    return sample(np.repeat(values[:, None], images, axis=1))


@settings(max_examples=50)
@given(st.integers(0, 10**6), st.integers(2, 7), st.integers(2, 7))
def test_without_doubt_from_images_it_is_welchs_test(seed: int, n: int, m: int) -> None:
    rng = np.random.default_rng(seed)
    one, other = rng.normal(0.4, 0.02, n), rng.normal(0.45, 0.05, m)
    found = difference(*(sample(np.repeat(v[:, None], 9, axis=1)) for v in (one, other)))
    expected = stats.ttest_ind(other, one, equal_var=False)
    low, high = expected.confidence_interval(0.95)
    assert found[:4] == pytest.approx((other.mean() - one.mean(), low, high, expected.pvalue))
    assert found.over_seeds


@pytest.mark.parametrize(
    ("first", "second", "p"),
    [
        ((43.5, 1.2), (45.8, 0.4), 0.068),
        ((43.5, 1.2), (39.8, 2.6), 0.117),
        ((43.5, 1.2), (46.3, 0.6), 0.038),
        ((43.5, 1.2), (46.1, 0.7), 0.043),
        ((43.5, 1.2), (35.0, 3.0), 0.026),
        ((44.4, 1.2), (6.0, 4.6), 0.003),
        ((79.6, 0.8), (73.7, 2.9), 0.063),
    ],
)
def test_three_seeds_decide_less_than_two_standard_errors_do(
    first: tuple[float, float], second: tuple[float, float], p: float
) -> None:
    """Means and deviations of three seeds as this project once printed them, with Welch's p."""
    one, other = (seeds_only(*numbers, n=3) for numbers in (first, second))
    found = difference(one, other)
    assert found.p == pytest.approx(p, abs=0.002)
    assert (found.low <= 0 <= found.high) == (p > 0.05)
    errors = abs(found.value) / np.hypot(first[1], second[1]) * np.sqrt(3)
    assert errors > 2


@settings(max_examples=50)
@given(st.integers(0, 10**6), st.integers(3, 60))
def test_one_seed_gives_the_paired_test_over_images(seed: int, images: int) -> None:
    one, other = np.random.default_rng(seed).normal(0.4, 0.2, (2, images))
    found = difference(sample(one[None]), sample(other[None]))
    expected = stats.ttest_rel(other, one)
    low, high = expected.confidence_interval(0.95)
    assert found[:4] == pytest.approx((other.mean() - one.mean(), low, high, expected.pvalue))
    assert not found.over_seeds


def test_one_image_says_nothing_about_others() -> None:
    found = difference(sample(np.array([[0.1]])), sample(np.array([[0.9]])))
    assert found[1:] == (-np.inf, np.inf, 1.0, False)


def test_the_same_runs_do_not_differ() -> None:
    one = sample(np.random.default_rng(0).normal(size=(1, 20)))
    assert difference(one, one)[:4] == (0, 0, 0, 1)


def test_a_ratio_weighs_images_by_their_areas() -> None:
    """The effects are the derivative of the ratio by an image's share, taken here numerically."""
    rng = np.random.default_rng(0)
    x, w = rng.uniform(1, 5, (2, 6)), rng.uniform(5, 9, (2, 6))
    found = Sample.of(x, w)
    assert found.values == pytest.approx(x.sum(1) / w.sum(1))
    for image in range(6):
        share = np.full(6, 1.0)
        share[image] += 1e-6
        moved = (x @ share) / (w @ share)
        assert found.effects[:, image] == pytest.approx((moved - found.values) * 6e6, rel=1e-3)
    assert Sample.of([[0, 0]], [[0, 0]]).values == 0


def simulated(rng: np.random.Generator, n: int, spread: tuple[float, float, float]) -> Floats:
    """Two groups of n runs on 40 images (2, n, 40) that truly differ by 0 on average.

    `spread`: the deviations of seeds, of images (the difference between groups varies by image) and
    of what is new in every run and image.
    """
    seeds, images, both = spread
    return (
        rng.normal(0, seeds, (2, n, 1))
        + rng.normal(0, images / np.sqrt(2), (2, 1, 40))
        + rng.normal(0, both, (2, n, 40))
    )


@pytest.mark.parametrize("n", [3, 6])
@pytest.mark.parametrize(
    "spread", [(1, 0, 0), (0, 6, 0.5), (0, 0, 6), (1, 6, 0.5), (0.5, 3, 3)], ids=str
)
def test_intervals_hold_the_truth_in_95_of_100_cases(
    n: int, spread: tuple[float, float, float]
) -> None:
    """Where images rule, their variance less the shared one is small or 0, which costs a little."""
    rng = np.random.default_rng(0)
    draws = (simulated(rng, n, spread) for _ in range(1000))
    found = [difference(*map(sample, groups)) for groups in draws]
    covered = np.mean([one.low <= 0 <= one.high for one in found])
    assert 0.93 < covered < 0.985
    assert np.mean([one.p < 0.05 for one in found]) == pytest.approx(1 - covered)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=6))
def test_holm_is_the_closed_bonferroni_test(p: list[float]) -> None:
    """Its definition: one is rejected if Bonferroni rejects every set that holds it."""
    sets = [s for r in range(1, len(p) + 1) for s in combinations(range(len(p)), r)]
    worst = [max(len(s) * min(p[i] for i in s) for s in sets if i in s) for i in range(len(p))]
    assert holm(p) == pytest.approx([min(1, one) for one in worst])


def test_one_table_of_many_comparisons_decides_less() -> None:
    alone = difference(seeds_only(43.5, 1.2, 3), seeds_only(46.3, 0.6, 3))
    same = difference(seeds_only(43.5, 1.2, 3), seeds_only(43.4, 1.2, 3))
    assert decided([alone]) == [True]
    assert decided([alone, same, same]) == [False] * 3
    assert decided([]) == []
