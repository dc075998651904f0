"""Runs side by side: mean and deviation over seeds, and differences with an interval from a bootstrap over images."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tris_core.evaluation.metrics import HITS, PRECISION_AT, ious, summarise
from tris_core.reports.paper import Row
from tris_core.runtime.errors import InputError

COLUMNS = ("mIoU", "PointIt", "P@0.5", "PointM")
RESAMPLES = 2000


def per_expression(records: pd.DataFrame) -> pd.DataFrame:
    """What every metric but oIoU is the mean of, by expression_id, with image_id."""
    iou = ious(records)
    values = {
        "mIoU": iou,
        **{f"P@{t}": iou >= t for t in PRECISION_AT},
        **{name: records[hit] for name, hit in HITS.items()},
    }
    frame = pd.DataFrame(
        {"expression_id": records["expression_id"], "image_id": records["image_id"], **values}
    )
    return frame.astype(dict.fromkeys(values, float)).set_index("expression_id").sort_index()


def bootstrap_interval(
    difference: pd.DataFrame, *, seed: int = 0, level: float = 0.95
) -> dict[str, tuple[float, float]]:
    """Percentile interval of the mean of every column but `image_id`, when whole images are drawn with replacement.

    Sentences of an image share its objects, so images, not sentences, are what was sampled.
    """
    sums = resampled_sums(difference.assign(count=1), seed=seed)
    means = sums.drop(columns="count").div(sums["count"], axis=0)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return {column: (low[i], high[i]) for i, column in enumerate(means)}


def resampled_sums(values: pd.DataFrame, *, seed: int = 0) -> pd.DataFrame:
    """Sums of every column but `image_id`, a row per resample of as many images as there are, drawn with replacement."""
    totals = values.groupby("image_id").sum()
    n = len(totals)
    draws: NDArray[np.int64] = np.random.default_rng(seed).multinomial(
        n, np.full(n, 1 / n), size=RESAMPLES
    )
    return pd.DataFrame(draws @ totals.to_numpy(), columns=totals.columns)


def differences(first: pd.DataFrame, second: pd.DataFrame) -> pd.DataFrame:
    """What one split's records of a second run differ by from a first's: a row per metric of `summarise`, as fractions.

    Columns first, second, difference, low and high: the 95 % interval of a paired bootstrap over images, in which oIoU is
    taken anew of every resample. Raises `InputError` for records of different expressions.
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
    overall = sums["intersection_2"] / sums["union_2"].clip(lower=1) - sums["intersection"] / sums[
        "union"
    ].clip(lower=1)
    interval["oIoU"] = tuple(np.quantile(overall, [0.025, 0.975]))
    values = pd.DataFrame({"first": summarise(first), "second": summarise(second)})
    values["difference"] = values["second"] - values["first"]
    return values.assign(
        **{
            side: [interval[name][i] for name in values.index]
            for i, side in enumerate(("low", "high"))
        }
    )


def compare(
    groups: Mapping[str, Sequence[pd.DataFrame]],
    *,
    against: str,
    paper: Mapping[str, Row] | None = None,
) -> pd.DataFrame:
    """A row per group of runs (`groups`: records of each seed of one split), all numbers in percent, as text.

    For every column of `COLUMNS`: mean over seeds, with their standard deviation where there are several; the difference to
    group `against` with its 95 % interval over images (seeds averaged per expression, then a paired bootstrap); and the
    paper's number where `paper` has one. A difference is "undecided" if the interval holds 0, or if it is less than two
    standard errors of the difference between seeds, where both groups have several. Raises `InputError` if groups were
    measured on different expressions.
    """
    tables = {name: [per_expression(run) for run in runs] for name, runs in groups.items()}
    index = tables[against][0].index
    for name, runs in tables.items():
        for run in runs:
            if not run.index.equals(index):
                raise InputError(
                    f"{name} and {against} were not measured on the same expressions; run them on the same data"
                )
    averages = {
        name: sum(run[list(COLUMNS)] for run in runs) / len(runs) for name, runs in tables.items()
    }
    rows = []
    for name, runs in tables.items():
        row = {"run": name, "seeds": str(len(runs))}
        difference = (averages[name] - averages[against]).assign(
            image_id=tables[against][0]["image_id"]
        )
        interval = bootstrap_interval(difference)
        for column in COLUMNS:
            means = [100 * run[column].mean() for run in runs]
            spread = f" ± {np.std(means, ddof=1):.1f}" if len(means) > 1 else ""
            row[column] = f"{np.mean(means):.1f}{spread}"
            if name != against:
                low, high = (100 * bound for bound in interval[column])
                first = [100 * run[column].mean() for run in tables[against]]
                chance = 2 * _error_of_difference(means, first)
                undecided = low <= 0 <= high or abs(np.mean(means) - np.mean(first)) < chance
                verdict = " undecided" if undecided else ""
                row[f"{column} - {against}"] = (
                    f"{100 * difference[column].mean():+.1f} [{low:+.1f}, {high:+.1f}]{verdict}"
                )
            if paper and column in paper.get(name, {}):
                row[f"paper's {column}"] = f"{paper[name][column]:.2f}"
        rows.append(row)
    order = ["run", "seeds"]
    for column in COLUMNS:
        order += [column, f"{column} - {against}", f"paper's {column}"]
    frame = pd.DataFrame(rows)
    return frame[[column for column in order if column in frame]].fillna("")


def _error_of_difference(one: Sequence[float], other: Sequence[float]) -> float:
    """Standard error of the difference of two means over seeds (Welch); 0 where either has one seed."""
    if min(len(one), len(other)) < 2:
        return 0.0
    return float(np.sqrt(np.var(one, ddof=1) / len(one) + np.var(other, ddof=1) / len(other)))


def beside_paper(
    groups: Mapping[str, Sequence[Mapping[str, Mapping[str, float]]]],
    labels: Mapping[str, str],
    paper: Mapping[str, Row],
) -> pd.DataFrame:
    """A row per group and split but train: what runs of several data sets measured beside the paper's numbers, as text.

    `groups`: per run the metrics by split, fractions in [0, 1]; `labels`: what the paper calls a group's data set; `paper`:
    rows by data set and split, in percent, whose names are the metrics shown. Ours are means over runs, with their
    standard deviation where there are several.
    """
    columns = list(next(iter(paper.values())))
    rows = []
    for name, runs in groups.items():
        for split in (split for split in runs[0] if split != "train"):
            row = {"run": name, "data": f"{labels[name]} {split}", "seeds": str(len(runs))}
            for column in columns:
                values = [100 * run[split][column] for run in runs]
                row[column] = f"{np.mean(values):.2f}" + (
                    f" ± {np.std(values, ddof=1):.2f}" if len(values) > 1 else ""
                )
                theirs = paper.get(row["data"], {}).get(column)
                row[f"paper's {column}"] = "" if theirs is None else f"{theirs:.2f}"
            rows.append(row)
    return pd.DataFrame(rows)
