"""The table of `tris report`: groups of runs, each over its seeds."""

from collections.abc import Callable, Mapping
from functools import partial
from html import escape
from typing import Any, TypeVar

import pandas as pd
from tabulate import tabulate

from tris_core.reports.compare import beside_paper, compare
from tris_core.reports.experiments import (
    WORKSPACE,
    Absent,
    NotRun,
    RunFiles,
    experiments,
    group_of,
    open_files,
    read_metrics,
    read_run,
    suggestion,
)
from tris_core.reports.paper import COMPARISONS, LAVT_OIOU, TABLE1, TABLE2, TABLE4
from tris_core.runtime.errors import InputError

R = TypeVar("R")
_LAYOUT: dict[str, Any] = {"headers": "keys", "showindex": False, "disable_numparse": True}


def make_table(
    runs: list[str], *, baseline: str, step: int, split: str, table: str | None
) -> tuple[pd.DataFrame, list[str]]:
    """A row per group of `runs` (of the command's words), and what a reader has to know: which runs were left out and why.

    With the paper's `table` 1, 2 or 4 the runs are on several data sets, and all their splits are shown. Raises `InputError`
    for unknown names and tables, and for a group of which nothing is left.
    """
    results = {"1": TABLE1[f"step{step}"], "2": TABLE2[f"step{step}"], "4": TABLE4}
    if table is not None and table not in {**results, **COMPARISONS}:
        raise InputError(
            f"--table {table}: the paper has tables {', '.join(sorted({**results, **COMPARISONS}))}"
        )
    known = experiments(baseline)
    groups = dict(_group(run, known, baseline) for run in runs)
    notes: list[str] = []

    def of_all(read: Callable[[RunFiles], R]) -> dict[str, list[R]]:
        return {
            name: _read(name, members, list(known), read, notes) for name, members in groups.items()
        }

    if table not in results:
        records = of_all(partial(read_run, step=step, split=split))
        return compare(
            records, against=next(iter(records)), paper=COMPARISONS[table] if table else None
        ), notes
    found = of_all(partial(read_metrics, table=table, step=step))
    labels = {name: measured[0][0] for name, measured in found.items()}
    rows = beside_paper(
        {n: [metrics for _, metrics in ms] for n, ms in found.items()}, labels, results[table]
    )
    if table == "1":
        rows["LAVT's oIoU"] = (
            rows["data"].map(LAVT_OIOU).map("{:.2f}".format, na_action="ignore").fillna("")
        )
    return rows, notes


def _group(run: str, known: Mapping[str, str], baseline: str) -> tuple[str, list[tuple[str, str]]]:
    """Name and runs (what they are called, revision) of `full` or `full=main,full-1`."""
    name, _, listed = run.partition("=")
    found = (
        sorted(listed.split(","))
        if listed
        else sorted(one for one in known if group_of(one) == name)
    )
    if not found:
        hint = suggestion(name, sorted({*known, *map(group_of, known)}))
        hint = hint or f"; known are {', '.join(sorted(known)) or 'none'}"
        raise InputError(f"{name}: no such experiment of {baseline}{hint}")
    return name, [(one, known.get(one, one)) for one in found]


def _read(
    name: str,
    runs: list[tuple[str, str]],
    known: list[str],
    read: Callable[[RunFiles], R],
    notes: list[str],
) -> list[R]:
    """What `read` finds of each run of a group that has made it itself; `notes` gains why others are left out."""
    found, left_out = [], []
    for one, revision in runs:
        with open_files(one, revision, known) as files:
            if revision == WORKSPACE:
                notes += files.warnings()
            try:
                found.append(read(files))
            except NotRun as error:
                left_out.append(f"{error} Left out of {name}.")
            except Absent as error:
                raise InputError(f"{one}: {error}") from error
    if not found:
        raise InputError(f"{name}: nothing to show. {' '.join(left_out)}")
    notes += left_out
    return found


def in_markdown(rows: pd.DataFrame, notes: list[str]) -> str:
    """The notes, a paragraph each, and the table."""
    return "\n\n".join([*notes, tabulate(rows, **_LAYOUT, tablefmt="github")])


def in_html(rows: pd.DataFrame, notes: list[str]) -> str:
    """The notes, a paragraph each, and the table."""
    return "\n".join(
        [*(f"<p>{escape(note)}</p>" for note in notes), tabulate(rows, **_LAYOUT, tablefmt="html")]
    )
