"""Comparison of runs: mean and deviation over seeds, and differences with their intervals."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tris_core.evaluation.metrics import HITS, PRECISION_AT, ious
from tris_core.reports.paper import Row
from tris_core.reports.statistics import Difference, Sample, decided, difference
from tris_core.runtime.errors import InputError

COLUMNS = ("mIoU", "PointIt", "P@0.5", "PointM")
AREAS = ("intersection", "union")


def samples(runs: Sequence[pd.DataFrame]) -> dict[str, Sample]:
    """Every metric of `tris_core.evaluation.metrics.summarise`, of runs on one split.

    Args:
        runs: the records of each, with image_id.

    Raises:
        InputError: if the records are of different expressions.
    """
    ids = [np.sort(run["expression_id"]) for run in runs]
    if not all(np.array_equal(found, ids[0]) for found in ids):
        raise InputError(
            "the runs were not measured on the same expressions; run them on the same data"
        )
    tables = [_by_image(run) for run in runs]
    names = [name for name in tables[0] if name not in (*AREAS, "sentences")]
    ratios = {name: (name, "sentences") for name in names}
    ratios = {"mIoU": ratios.pop("mIoU"), "oIoU": AREAS, **ratios}
    return {
        name: Sample.of(*(np.stack([table[column] for table in tables]) for column in ratio))
        for name, ratio in ratios.items()
    }


def _by_image(records: pd.DataFrame) -> pd.DataFrame:
    """What every metric is a ratio of, summed over the sentences of an image."""
    iou_of = ious(records)
    terms = {
        "mIoU": iou_of,
        **{f"P@{t}": iou_of >= t for t in PRECISION_AT},
        **{name: records[hit] for name, hit in HITS.items() if hit in records},
        **{name: records[name] for name in AREAS},
        "sentences": 1,
    }
    return pd.DataFrame(terms).astype(float).groupby(records["image_id"]).sum()


def differences(first: pd.DataFrame, second: pd.DataFrame) -> dict[str, Difference]:
    """How every metric of one run differs from another run's, on one split.

    Args:
        first, second: records of the split, with image_id.

    Raises:
        InputError: if the records are of different expressions.
    """
    both = samples([first, second])
    return {name: difference(sample[:1], sample[1:]) for name, sample in both.items()}


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
        standard deviation; the difference to `against` with its 95 % interval over seeds and
        images; the paper's number. A difference is "undecided" if it may be chance
        (`tris_core.reports.statistics.decided` over all of the table). If a side has one run, its
        interval is marked "images only".

    Raises:
        InputError: if groups were measured on different expressions.
    """
    pooled = samples([run for runs in groups.values() for run in runs])
    ends = np.cumsum([0, *map(len, groups.values())])
    parts = {name: slice(*ends[i : i + 2]) for i, name in enumerate(groups)}
    changes = {
        (name, column): difference(pooled[column][parts[against]], pooled[column][part])
        for name, part in parts.items()
        if name != against
        for column in COLUMNS
    }
    clear = dict(zip(changes, decided(list(changes.values())), strict=True))
    rows = []
    for name, part in parts.items():
        row = {"run": name, "seeds": str(len(groups[name]))}
        for column in COLUMNS:
            row[column] = mean(100 * pooled[column].values[part], digits=1)
            if name != against:
                made = changes[name, column], clear[name, column]
                row[f"{column} - {against}"] = in_points(*made, digits=1)
            if paper and column in paper.get(name, {}):
                row[f"paper's {column}"] = f"{paper[name][column]:.2f}"
        rows.append(row)
    order = ["run", "seeds"]
    for column in COLUMNS:
        order += [column, f"{column} - {against}", f"paper's {column}"]
    frame = pd.DataFrame(rows)
    return frame[[column for column in order if column in frame]].fillna("")


def mean(values: Sequence[float] | NDArray[np.float64], *, digits: int) -> str:
    """The mean, with the standard deviation if there are several values."""
    deviation = f" ± {np.std(values, ddof=1):.{digits}f}" if len(values) > 1 else ""
    return f"{np.mean(values):.{digits}f}{deviation}"


def in_points(change: Difference, clear: bool, *, digits: int) -> str:
    """A difference in percentage points with its interval, and what it leaves open."""
    value, low, high = (f"{100 * number:+.{digits}f}" for number in change[:3])
    open_points = [
        *([] if change.over_seeds else ["images only"]),
        *([] if clear else ["undecided"]),
    ]
    return " ".join([f"{value} [{low}, {high}]", ", ".join(open_points)]).strip()


def beside_paper(
    groups: Mapping[str, Sequence[Mapping[str, Mapping[str, float]]]],
    labels: Mapping[str, str],
    paper: Mapping[str, Mapping[str, Row]],
) -> pd.DataFrame:
    """Metrics of runs on several data sets, with the paper's numbers below each.

    Args:
        groups: for every run of a group its metrics by split, in [0, 1].
        labels: the paper's name of each group's data set.
        paper: by system, its rows by data set and split, in percent. They name the metrics to show.

    Returns:
        Rows of text, for each data set and split except train: first the groups, each with its
        means over runs and the standard deviation if there are several, then the systems of the
        paper.
    """
    ordered = list(paper.values())[::-1]  # TRIS, the last, has what is shown first
    columns = list(dict.fromkeys(m for rows in ordered for row in rows.values() for m in row))
    measured: dict[str, list[dict[str, str]]] = {}
    for name, runs in groups.items():
        for split in (split for split in runs[0] if split != "train"):
            values = {c: mean([100 * run[split][c] for run in runs], digits=2) for c in columns}
            row = {"run": name, "seeds": str(len(runs)), **values}
            measured.setdefault(f"{labels[name]} {split}", []).append(row)
    rows = []
    for data, ours in measured.items():
        theirs = [
            {"run": f"paper: {system}", **{c: f"{value:.2f}" for c, value in of[data].items()}}
            for system, of in paper.items()
            if data in of
        ]
        rows += [{"data": data, **row} for row in [*ours, *theirs]]
    return pd.DataFrame(rows).fillna("")
