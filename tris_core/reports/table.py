"""The tables of `tris compare`: groups of runs, each over its seeds."""

import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from html import escape
from typing import Literal, NamedTuple, TypeVar

import numpy as np
import pandas as pd
from tabulate import tabulate

from tris_core.data.index import Index
from tris_core.reports.compare import COLUMNS, beside_paper, compare, mean
from tris_core.reports.experiments import (
    WORKSPACE,
    Absent,
    NotRun,
    RunFiles,
    experiments,
    group_of,
    open_files,
    suggestion,
)
from tris_core.reports.paper import COMPARISONS, by_name, label
from tris_core.runtime.errors import InputError
from tris_core.runtime.parquet import read_table

ABOUT = (
    "Differences in points, with 95 % intervals over seeds and images: Welch's t-test over seeds, "
    "in which images count as a further source of chance. `undecided`: may be chance, after Holm's "
    "correction for all {n} differences of the table. `images only`: a side has one seed, so "
    "nothing is known about other seeds."
)
R = TypeVar("R")


@dataclass(frozen=True)
class Groups:
    """Groups of runs to average over.

    `members`: by group, name and revision of its runs. `known`: all experiments. `notes`: what the
    reader has to know, such as which runs were left out and why; reading adds to them.
    """

    members: dict[str, list[tuple[str, str]]]
    known: list[str]
    notes: list[str] = field(default_factory=list)

    def read(self, read: Callable[[RunFiles], R]) -> dict[str, list[R]]:
        """Call `read` for the runs of each group, leaving out results that another run made.

        Raises `InputError` if a result is not in the cache, or if nothing of a group is left.
        """
        return {name: self._read_group(name, read) for name in self.members}

    def _read_group(self, name: str, read: Callable[[RunFiles], R]) -> list[R]:
        found, left_out = [], []
        for run, revision in self.members[name]:
            with open_files(run, revision, self.known) as files:
                if revision == WORKSPACE:
                    self.notes.extend(files.warnings())
                try:
                    found.append(read(files))
                except NotRun as error:
                    left_out.append(f"{error} Left out of {name}.")
                except Absent as error:
                    raise InputError(f"{run}: {error}") from error
        if not found:
            raise InputError(f"{name}: nothing to show. {' '.join(left_out)}")
        self.notes.extend(left_out)
        return found


def resolve_groups(runs: list[str], baseline: str) -> Groups:
    """The groups that a command names.

    Args:
        runs: `full` (experiments full-0, full-1, ...) or `full=main,full-1`.
        baseline: the commit that the experiments started from.

    Raises:
        InputError: no such experiment.
    """
    known = experiments(baseline)
    members = {}
    for run in runs:
        name, _, listed = run.partition("=")
        names = listed.split(",") if listed else [one for one in known if group_of(one) == name]
        if not names:
            hint = suggestion(name, sorted({*known, *map(group_of, known)}))
            hint = hint or f"; known are {', '.join(sorted(known)) or 'none'}"
            raise InputError(f"{name}: no such experiment of {baseline}{hint}")
        members[name] = [(one, known.get(one, one)) for one in sorted(names)]
    return Groups(members, list(known))


def comparison(groups: Groups, *, step: int, split: str, table: int | None) -> pd.DataFrame:
    """A row per group, compared with the first, on one split (`tris_core.reports.compare.compare`).

    `table` 3 or 5 adds the paper's numbers. Of Step-1's maps there is also the mIoU at the group's
    own best threshold. Raises `InputError` as `Groups.read` does.
    """
    read = groups.read(partial(read_run, step=step, split=split))
    records = {name: [run.records for run in runs] for name, runs in read.items()}
    paper = COMPARISONS[table] if table is not None else None
    rows = compare(records, against=next(iter(records)), paper=paper)
    if step == 1:
        best = ([100 * run.best for run in runs] for runs in read.values())
        texts = ["" if np.isnan(values).any() else mean(values, digits=1) for values in best]
        rows["mIoU at the threshold best on val"] = texts
    if len(groups.members) > 1:
        groups.notes.append(ABOUT.format(n=len(COLUMNS) * (len(groups.members) - 1)))
    return rows


def paper_table(groups: Groups, *, table: int, step: int) -> pd.DataFrame:
    """Rows of groups and of the paper's `table` 1, 2 or 4, for each data set and split but train.

    Raises `InputError` as `Groups.read` does.
    """
    found = groups.read(partial(read_metrics, table=table, step=step))
    labels = {name: runs[0][0] for name, runs in found.items()}
    metrics = {name: [measured for _, measured in runs] for name, runs in found.items()}
    return beside_paper(metrics, labels, by_name(table))


def text(rows: pd.DataFrame, notes: list[str], form: Literal["github", "html"]) -> str:
    """The notes, a paragraph each, and the table, in Markdown or HTML."""
    drawn = tabulate(rows, headers="keys", showindex=False, disable_numparse=True, tablefmt=form)
    if form == "html":
        return "\n".join([*(f"<p>{escape(note)}</p>" for note in notes), drawn])
    return "\n\n".join([*notes, drawn])


class Measured(NamedTuple):
    """What one run measured on a split.

    Attributes:
        records: the columns of `tris_core.evaluation.metrics`, split and image_id.
        best: of Step-1, see `at_best_threshold`; else nan.
    """

    records: pd.DataFrame
    best: float


def read_run(files: RunFiles, *, step: int, split: str) -> Measured:
    """What `evaluate_step<step>` wrote for a split.

    Raises:
        NotRun: if they are another run's.
        Absent: if they are not in the cache.
        InputError: if there is no such split.
    """
    records = read_table(files.result(f"data/evaluation/step{step}/records.parquet"))
    chosen = records[records["split"] == split]
    if chosen.empty:
        known = ", ".join(records["split"].unique())
        raise InputError(f"{files.name}: no split {split!r}; there are {known}")
    index = Index(
        lambda table, columns: read_table(files.result(f"data/index/{table}.parquet"), columns)
    )
    owners = index.joined()[["expression_id", "image_id"]]
    table = chosen.merge(owners, on="expression_id", validate="one_to_one")
    best = at_best_threshold(files) if step == 1 else {}
    return Measured(table, best.get(split, math.nan))


def at_best_threshold(files: RunFiles) -> dict[str, float]:
    """mIoU of Step-1's maps by split, cut at the threshold that is best on val.

    Maps of different origin, such as a baseline's, are only comparable so: a fixed threshold suits
    some and not others. Empty if val has no true mask. Raises as `read_run` does.
    """
    curves = pd.read_csv(files.result("metrics/curves/step1_thresholds.csv"), index_col=0)
    if curves["val"].isna().all():
        return {}
    return {str(split): float(v) for split, v in curves.loc[curves["val"].idxmax()].items()}


def read_metrics(
    files: RunFiles, *, table: int, step: int
) -> tuple[str, dict[str, dict[str, float]]]:
    """The paper's name of a run's data set, and the metrics by split that a table needs.

    Args:
        table: 1, 2 or 4.

    Raises:
        NotRun: if they are another run's.
        Absent: if they are not in the cache.
    """
    path = "metrics/prms.json" if table == 4 else f"data/evaluation/step{step}/metrics.json"
    content = json.loads(files.result(path).read_text())
    dataset = files.yaml("params.yaml")["dataset"]
    metrics = content if table == 4 else content["metrics"]
    return label(dataset["name"], dataset["split_by"]), metrics
