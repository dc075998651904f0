"""Is a difference between runs more than chance? Seeds and images both say how far to trust it.

Every metric of a run is a ratio of sums over images: mIoU divides the IoUs of an image's sentences
by their number, oIoU intersections by unions. Runs are compared on the same images, with several
seeds each. A repetition would draw other seeds and other images, so the variance of a difference
has three terms:

    seeds of the first + seeds of the second + images

With the first two alone this is Welch's t-test. Its degrees of freedom (Satterthwaite's) are few
when seeds are, which two standard errors, or a bootstrap of three seeds, do not account for.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

LEVEL = 0.95
Values = NDArray[np.float64]


@dataclass(frozen=True)
class Sample:
    """One metric of S runs that were measured on the same I images.

    Attributes:
        values: (S,), the metric.
        effects: (S, I), how far each image pulls it from its value. Rows average to 0; the variance
            of a row over I is that of the value if images were drawn again.
    """

    values: Values
    effects: Values

    @staticmethod
    def of(sums: ArrayLike, weights: ArrayLike) -> "Sample":
        """The ratio of two sums over images, both given by run and image (S, I).

        The effects are the ratio's derivatives by the share of an image, as in the delta method.
        A ratio without any weight is 0.
        """
        x, w = np.asarray(sums, np.float64), np.asarray(weights, np.float64)
        total = w.sum(axis=1, keepdims=True)
        total[total == 0] = np.inf
        values = x.sum(axis=1, keepdims=True) / total
        return Sample(values[:, 0], (x - values * w) * (x.shape[1] / total))

    def __getitem__(self, runs: slice) -> "Sample":
        return Sample(self.values[runs], self.effects[runs])

    def variance_over_seeds(self) -> float:
        """Of the mean over runs, if seeds were drawn again."""
        return float(self.values.var(ddof=1) / len(self.values))

    def variance_of_both(self) -> float:
        """What is new in every run and image, in the variance of the mean over runs and images."""
        runs, images = self.effects.shape
        rest = self.effects - self.effects.mean(axis=0)
        return float((rest**2).sum() / ((runs - 1) * (images - 1)) / (runs * images))


class Difference(NamedTuple):
    """A difference of two means over runs, with its interval at `LEVEL`.

    `p` is that of no difference. `over_seeds` is False if a side has one run: interval and p then
    say how far other images would change the difference, and nothing about other seeds.
    """

    value: float
    low: float
    high: float
    p: float
    over_seeds: bool


def difference(first: Sample, second: Sample) -> Difference:
    """The second sample's mean less the first's. Both are of the same images in the same order."""
    change = float(second.values.mean() - first.values.mean())
    images = second.effects.shape[1]
    over_seeds = min(len(first.values), len(second.values)) > 1
    if images < 2:  # says nothing about other images
        return Difference(change, -np.inf, np.inf, 1.0, over_seeds)
    paired = second.effects.mean(axis=0) - first.effects.mean(axis=0)
    of_images = float(paired.var(ddof=1) / images)
    terms = [(of_images, images - 1)]
    if over_seeds:
        # What is new in every run and image is in the terms of the seeds already.
        both = first.variance_of_both() + second.variance_of_both()
        terms = [(max(0.0, of_images - both), images - 1)]
        terms += [(side.variance_over_seeds(), len(side.values) - 1) for side in (first, second)]
    variance = sum(term for term, _ in terms)
    if variance == 0:
        return Difference(change, change, change, float(change == 0), over_seeds)
    freedom = variance**2 / sum(term**2 / degrees for term, degrees in terms)
    error = np.sqrt(variance)
    half = error * stats.t.ppf((1 + LEVEL) / 2, freedom)
    p = 2 * stats.t.sf(abs(change) / error, freedom)
    return Difference(change, float(change - half), float(change + half), float(p), over_seeds)


def holm(p: Sequence[float]) -> Values:
    """Holm's p-values of several comparisons, in the order given.

    Calling those below 0.05 decided is wrong about any of them in at most one table of twenty.
    """
    found = np.asarray(p, np.float64)
    order = found.argsort()
    stepped = found[order] * np.arange(len(found), 0, -1)
    adjusted = np.empty_like(found)
    adjusted[order] = np.minimum(1, np.maximum.accumulate(stepped))
    return adjusted


def decided(differences: Sequence[Difference]) -> list[bool]:
    """Which differences of one table are more than chance, after Holm's correction."""
    return [bool(p < 1 - LEVEL) for p in holm([one.p for one in differences])]
