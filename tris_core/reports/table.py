"""The table of `tris report`: groups of runs that differ in their seed."""

import json
from collections.abc import Callable, Mapping
from functools import partial
from html import escape
from typing import Any, TypeVar

import pandas as pd
from tabulate import tabulate

from tris_core.data.index import Index
from tris_core.reports.compare import beside_paper, compare
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
from tris_core.reports.paper import COMPARISONS, LAVT_OIOU, TABLE1, TABLE2, TABLE4, label
from tris_core.runtime.errors import InputError
from tris_core.runtime.parquet import read_table

R = TypeVar("R")
Members = list[tuple[str, str]]  # name and revision of each run
_LAYOUT: dict[str, Any] = {"headers": "keys", "showindex": False, "disable_numparse": True}


def make_table(
    runs: list[str], *, baseline: str, step: int, split: str, table: str | None
) -> tuple[pd.DataFrame, list[str]]:
    """Compare groups of runs.

    Args:
        runs: groups, as `full` or `full=main,full-1`.
        baseline: the commit that the experiments started from.
        table: a table of the paper to show beside. Tables 1, 2 and 4 have several data sets, and
            all splits are shown.

    Returns:
        One row per group, and notes for the reader: which runs were left out, and why.

    Raises:
        InputError: for an unknown name or table, or if no run of a group is left.
    """
    results = {"1": TABLE1[f"step{step}"], "2": TABLE2[f"step{step}"], "4": TABLE4}
    tables = {**results, **COMPARISONS}
    if table is not None and table not in tables:
        raise InputError(f"--table {table}: the paper has tables {', '.join(sorted(tables))}")
    known = experiments(baseline)
    groups = dict(_group(run, known, baseline) for run in runs)
    notes: list[str] = []
    if table not in results:
        read = partial(read_run, step=step, split=split)
        records = _read_all(groups, list(known), read, notes)
        paper = COMPARISONS[table] if table else None
        return compare(records, against=next(iter(records)), paper=paper), notes
    found = _read_all(groups, list(known), partial(read_metrics, table=table, step=step), notes)
    labels = {name: measured[0][0] for name, measured in found.items()}
    metrics = {name: [values for _, values in measured] for name, measured in found.items()}
    rows = beside_paper(metrics, labels, results[table])
    if table == "1":
        lavt = rows["data"].map(LAVT_OIOU).map("{:.2f}".format, na_action="ignore")
        rows["LAVT's oIoU"] = lavt.fillna("")
    return rows, notes


def _group(run: str, known: Mapping[str, str], baseline: str) -> tuple[str, Members]:
    """Name and members of a group given as `full` or `full=main,full-1`."""
    name, _, listed = run.partition("=")
    members = listed.split(",") if listed else [one for one in known if group_of(one) == name]
    if not members:
        hint = suggestion(name, sorted({*known, *map(group_of, known)}))
        hint = hint or f"; known are {', '.join(sorted(known)) or 'none'}"
        raise InputError(f"{name}: no such experiment of {baseline}{hint}")
    return name, [(one, known.get(one, one)) for one in sorted(members)]


def _read_all(
    groups: Mapping[str, Members],
    known: list[str],
    read: Callable[[RunFiles], R],
    notes: list[str],
) -> dict[str, list[R]]:
    return {name: _read(name, members, known, read, notes) for name, members in groups.items()}


def _read(
    name: str, runs: Members, known: list[str], read: Callable[[RunFiles], R], notes: list[str]
) -> list[R]:
    """Read every run of a group whose results are its own; add a note for each that is left out."""
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


def read_run(files: RunFiles, *, step: int, split: str) -> pd.DataFrame:
    """The records that `evaluate_step<step>` wrote for a split.

    Returns:
        The columns of `tris_core.evaluation.metrics`, split and image_id.

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
    return chosen.merge(owners, on="expression_id", validate="one_to_one")


def read_metrics(
    files: RunFiles, *, table: str, step: int
) -> tuple[str, dict[str, dict[str, float]]]:
    """The paper's name of a run's data set, and the metrics by split that a table needs.

    Args:
        table: "1", "2" or "4".

    Raises:
        NotRun: if they are another run's.
        Absent: if they are not in the cache.
    """
    path = "metrics/prms.json" if table == "4" else f"data/evaluation/step{step}/metrics.json"
    content = json.loads(files.result(path).read_text())
    dataset = files.yaml("params.yaml")["dataset"]
    metrics = content if table == "4" else content["metrics"]
    return label(dataset["name"], dataset["split_by"]), metrics


def in_markdown(rows: pd.DataFrame, notes: list[str]) -> str:
    """The notes, a paragraph each, and the table."""
    return "\n\n".join([*notes, tabulate(rows, **_LAYOUT, tablefmt="github")])


def in_html(rows: pd.DataFrame, notes: list[str]) -> str:
    """The notes, a paragraph each, and the table."""
    paragraphs = [f"<p>{escape(note)}</p>" for note in notes]
    return "\n".join([*paragraphs, tabulate(rows, **_LAYOUT, tablefmt="html")])
