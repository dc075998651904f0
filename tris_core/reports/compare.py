"""Comparison of runs: mean and deviation over seeds, and differences with bootstrap intervals."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tris_core.data.maps import iou
from tris_core.evaluation.metrics import HITS, PRECISION_AT, ious, summarise
from tris_core.reports.paper import Row
from tris_core.runtime.errors import InputError

COLUMNS = ("mIoU", "PointIt", "P@0.5", "PointM")
RESAMPLES = 2000


def per_expression(records: pd.DataFrame) -> pd.DataFrame:
    """The terms that every metric except oIoU is the mean of.

    Columns are the metrics and image_id, by expression_id.
    """
    iou_of = ious(records)
    values = {
        "mIoU": iou_of,
        **{f"P@{t}": iou_of >= t for t in PRECISION_AT},
        **{name: records[hit] for name, hit in HITS.items()},
    }
    ids = {name: records[name] for name in ("expression_id", "image_id")}
    frame = pd.DataFrame({**ids, **values}).astype(dict.fromkeys(values, float))
    return frame.set_index("expression_id").sort_index()


def bootstrap_interval(
    difference: pd.DataFrame, *, seed: int = 0, level: float = 0.95
) -> dict[str, tuple[float, float]]:
    """Percentile interval of the mean of every column except `image_id`.

    Images are drawn with replacement, not sentences: sentences of an image share its objects.
    """
    sums = resampled_sums(difference.assign(count=1), seed=seed)
    means = sums.drop(columns="count").div(sums["count"], axis=0)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return {column: (low[i], high[i]) for i, column in enumerate(means)}


def resampled_sums(values: pd.DataFrame, *, seed: int = 0) -> pd.DataFrame:
    """Sums of every column except `image_id`, one row per bootstrap resample of the images."""
    totals = values.groupby("image_id").sum()
    n = len(totals)
    rng = np.random.default_rng(seed)
    draws: NDArray[np.int64] = rng.multinomial(n, np.full(n, 1 / n), size=RESAMPLES)
    return pd.DataFrame(draws @ totals.to_numpy(), columns=totals.columns)


def differences(first: pd.DataFrame, second: pd.DataFrame) -> pd.DataFrame:
    """The difference of a second run's metrics to a first's, on one split.

    Args:
        first, second: records of the split, with image_id.

    Returns:
        One row per metric of `summarise`, as fractions: first, second, difference, and low and
        high of the 95 % interval of a paired bootstrap over images. oIoU is computed anew for
        every resample.

    Raises:
        InputError: if the records are of different expressions.
    """
    one, other = per_expression(first), per_expression(second)
    if not one.index.equals(other.index):
        raise InputError(
            "the runs were not measured on the same expressions; run them on the same data"
        )
    interval = bootstrap_interval((other - one).assign(image_id=one["image_id"]))
    areas = first[["expression_id", "image_id", "intersection", "union"]].merge(
        second[["expression_id", "intersection", "union"]], on="expression_id", suffixes=("", "_2")
    )
    sums = resampled_sums(areas.drop(columns="expression_id"))
    overall = iou(sums["intersection_2"], sums["union_2"]) - iou(
        sums["intersection"], sums["union"]
    )
    interval["oIoU"] = tuple(np.quantile(overall, [0.025, 0.975]))
    values = pd.DataFrame({"first": summarise(first), "second": summarise(second)})
    values["difference"] = values["second"] - values["first"]
    values["low"] = [interval[name][0] for name in values.index]
    values["high"] = [interval[name][1] for name in values.index]
    return values


def compare(
    groups: Mapping[str, Sequence[pd.DataFrame]],
    *,
    against: str,
    paper: Mapping[str, Row] | None = None,
) -> pd.DataFrame:
    """Compare groups of runs on one split.

    Args:
        groups: the records of each seed.
        against: the group that the others are compared with.
        paper: the paper's numbers by group, in percent.

    Returns:
        One row of text per group, in percent. For each of `COLUMNS`: the mean over seeds and its
        standard deviation; the difference to `against` with its 95 % interval (seeds are averaged
        per expression, then images are resampled in pairs); the paper's number. A difference is
        "undecided" if the interval contains 0, or if it is smaller than two standard errors of
        the difference between seeds.

    Raises:
        InputError: if groups were measured on different expressions.
    """
    tables = {name: [per_expression(run) for run in runs] for name, runs in groups.items()}
    _check_same_expressions(tables, against)
    base = tables[against]
    rows = []
    for name, runs in tables.items():
        change = _average(runs) - _average(base)
        interval = bootstrap_interval(change.assign(image_id=base[0]["image_id"]))
        row = {"run": name, "seeds": str(len(runs))}
        for column in COLUMNS:
            means = [100 * run[column].mean() for run in runs]
            row[column] = _mean(means, digits=1)
            if name != against:
                first = [100 * run[column].mean() for run in base]
                difference = 100 * change[column].mean()
                row[f"{column} - {against}"] = _difference(
                    difference, interval[column], means, first
                )
            if paper and column in paper.get(name, {}):
                row[f"paper's {column}"] = f"{paper[name][column]:.2f}"
        rows.append(row)
    order = ["run", "seeds"]
    for column in COLUMNS:
        order += [column, f"{column} - {against}", f"paper's {column}"]
    frame = pd.DataFrame(rows)
    return frame[[column for column in order if column in frame]].fillna("")


def _check_same_expressions(tables: Mapping[str, list[pd.DataFrame]], against: str) -> None:
    index = tables[against][0].index
    for name, runs in tables.items():
        if not all(run.index.equals(index) for run in runs):
            found = f"{name} and {against} were not measured on the same expressions"
            raise InputError(f"{found}; run them on the same data")


def _average(runs: list[pd.DataFrame]) -> pd.DataFrame:
    """The mean over seeds, per expression."""
    return sum(run[list(COLUMNS)] for run in runs) / len(runs)


def _mean(values: Sequence[float], *, digits: int) -> str:
    """The mean, with the standard deviation if there are several values."""
    deviation = f" ± {np.std(values, ddof=1):.{digits}f}" if len(values) > 1 else ""
    return f"{np.mean(values):.{digits}f}{deviation}"


def _difference(
    difference: float,
    interval: tuple[float, float],
    means: Sequence[float],
    first: Sequence[float],
) -> str:
    """A difference in points with its interval, marked if it is undecided."""
    low, high = (100 * bound for bound in interval)
    chance = 2 * _error_of_difference(means, first)
    undecided = low <= 0 <= high or abs(np.mean(means) - np.mean(first)) < chance
    return f"{difference:+.1f} [{low:+.1f}, {high:+.1f}]{' undecided' if undecided else ''}"


def _error_of_difference(one: Sequence[float], other: Sequence[float]) -> float:
    """Standard error of the difference of two means over seeds (Welch); 0 if either has one."""
    if min(len(one), len(other)) < 2:
        return 0.0
    return float(np.sqrt(np.var(one, ddof=1) / len(one) + np.var(other, ddof=1) / len(other)))


def beside_paper(
    groups: Mapping[str, Sequence[Mapping[str, Mapping[str, float]]]],
    labels: Mapping[str, str],
    paper: Mapping[str, Row],
) -> pd.DataFrame:
    """Metrics of runs on several data sets, beside the paper's numbers.

    Args:
        groups: for every run of a group its metrics by split, in [0, 1].
        labels: the paper's name of each group's data set.
        paper: rows by data set and split, in percent. They name the metrics to show.

    Returns:
        One row of text per group and split except train: means over runs, with the standard
        deviation if there are several.
    """
    columns = list(next(iter(paper.values())))
    rows = []
    for name, runs in groups.items():
        for split in (split for split in runs[0] if split != "train"):
            row = {"run": name, "data": f"{labels[name]} {split}", "seeds": str(len(runs))}
            for column in columns:
                row[column] = _mean([100 * run[split][column] for run in runs], digits=2)
                theirs = paper.get(row["data"], {}).get(column)
                row[f"paper's {column}"] = "" if theirs is None else f"{theirs:.2f}"
            rows.append(row)
    return pd.DataFrame(rows)
