"""The sections of a report that are numbers and text."""

import os
import platform
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import pandas as pd
import torch

from tris_core.evaluation.records import in_order
from tris_core.reports.compare import differences, in_points
from tris_core.reports.content import Section, Table
from tris_core.reports.curves import draw_curves
from tris_core.reports.experiments import Absent
from tris_core.reports.paper import Row, beside, beside_prms
from tris_core.reports.provenance import MISSING, flat, shown
from tris_core.reports.run import Run
from tris_core.reports.statistics import Difference, decided
from tris_core.runtime.environment import device_name, versions
from tris_core.runtime.errors import InputError

STEPS = {1: "Step-1, response maps", 2: "Step-2, predictions"}
CURVES = {
    "Step-1's losses": ("metrics/curves/step1.csv", "loss"),
    "Boundary network's losses": ("metrics/curves/irn.csv", "loss"),
    "Step-2's losses": ("metrics/curves/step2.csv", "loss"),
    "Step-1's mIoU against the threshold": ("metrics/curves/step1_thresholds.csv", "mIoU"),
}
PRMS = "mIoU of all response maps, and of those that PRMS selects, percent"
LABELS = "mIoU of the selected maps at their best threshold, and of the pseudo-labels, percent"
PAPER = "paper"

Metrics = Mapping[str, Mapping[str, float]]  # by split and name
Paper = Callable[[str, str], dict[str, Row]]  # the paper's numbers, for a data set and split


def percent(fraction: float) -> str:
    return f"{100 * fraction:.2f}"


def metrics(section: Section, runs: list[Run]) -> None:
    """A table per step, PRMS's gains and the pseudo-labels, with the paper's numbers."""
    for step, title in STEPS.items():
        read, paper = partial(Run.metrics, step=step), partial(beside, step=step)
        _metrics_table(section, runs, f"{title}, percent", read, paper)
    _metrics_table(section, runs, PRMS, partial(Run.json, path="metrics/prms.json"), beside_prms)
    labels = partial(Run.json, path="metrics/pseudo_labels.json")
    _metrics_table(section, runs, LABELS, labels, _no_paper)
    if not any(row[1].startswith(PAPER) for table in section.tables for row in table.rows):
        data = " or ".join(dict.fromkeys(run.label for run in runs))
        section.notes.append(f"The paper has no number for {data}.")


def _no_paper(data: str, split: str) -> dict[str, Row]:
    return {}


def _metrics_table(
    section: Section,
    runs: list[Run],
    caption: str,
    read: Callable[[Run], Metrics],
    paper: Paper,
) -> None:
    """A table of the metrics that `read` gives for each run, with the paper's below each split."""
    attempts = {run.name: section.attempt(read, run) for run in runs}
    found = {name: content for name, content in attempts.items() if content is not None}
    every = [row for content in found.values() for row in content.values()]
    columns = list(dict.fromkeys(name for row in every for name in row))
    rows = []
    for split in dict.fromkeys(split for content in found.values() for split in content):
        for name, content in found.items():
            if split in content:
                rows.append([split, name, *_cells(content[split], columns, percent)])
        for data in dict.fromkeys(run.label for run in runs):
            for system, theirs in paper(data, split).items():
                cells = _cells(theirs, columns, "{:.2f}".format)
                rows.append([split, f"{PAPER}, {data}: {system}", *cells])
    if rows:
        section.tables.append(Table(caption, ["split", "run", *columns], rows))
    elif found:
        section.notes.append(f"{caption}: no ref has a true mask, so nothing was measured.")


def _cells(
    values: Mapping[str, float], columns: list[str], text: Callable[[float], str]
) -> list[str]:
    return [text(values[column]) if column in values else "" for column in columns]


def kinds_of_expressions(section: Section, runs: list[Run], step: int, split: str) -> None:
    """The stored breakdowns of one split: a table per breakdown, a row per group and run."""
    path = f"data/evaluation/step{step}/breakdowns.parquet"
    attempts = [section.attempt(_breakdown, run, path, split) for run in runs]
    found = [table for table in attempts if table is not None]
    if not found:
        return
    named, columns = ["run"] if len(runs) > 1 else [], ["mIoU", "P@0.5", "PointM"]
    for by, table in pd.concat(found).sort_values("order", kind="stable").groupby("by", sort=False):
        rows = []
        for _, row in table.iterrows():
            cells = [percent(row[column]) for column in columns]
            rows.append([row["group"], *row[named], str(row["expressions"]), *cells])
        head = ["group", *named, "number", *columns]
        section.tables.append(Table(str(by), head, rows, side=True))


def _breakdown(run: Run, path: str, split: str) -> pd.DataFrame:
    table = run.table(path)
    table = table[table["split"] == split]
    return table.assign(run=run.name, order=table.groupby("by").cumcount())


def changes(section: Section, first: Run, second: Run) -> None:
    """The parameters that differ, and the difference of every metric with its interval."""
    before, after = (flat(run.params) for run in (first, second))
    rows = []
    for name in dict.fromkeys([*after, *before]):
        one, other = before.get(name, MISSING), after.get(name, MISSING)
        if one != other:
            rows.append([name, shown(one), shown(other)])
    if rows:
        head = ["parameter", first.name, second.name]
        section.tables.append(Table("Parameters that differ", head, rows))
    else:
        section.notes.append("All parameters are the same.")
    for step, title in STEPS.items():
        section.attempt(_step_changes, section, first, second, step, title)


def _step_changes(section: Section, first: Run, second: Run, step: int, title: str) -> None:
    one, other = first.records(step), second.records(step)
    found: dict[tuple[str, str], Difference] = {}
    for split in in_order(pd.concat([one["split"], other["split"]])):
        try:
            of_split = differences(one[one["split"] == split], other[other["split"] == split])
        except InputError as error:
            section.notes.append(f"{title}, {split}: {error}.")
            continue
        found |= {(name, split): change for name, change in of_split.items()}
    cells = dict(
        zip(found, map(_change, found.values(), decided(list(found.values()))), strict=True)
    )
    splits = list(dict.fromkeys(split for _, split in found))
    names = dict.fromkeys(name for name, _ in found)
    rows = [[name, *(cells.get((name, split), "") for split in splits)] for name in names]
    if rows:
        caption = f"{title}: {second.name} less {first.name}, points [95 % interval over images]"
        section.tables.append(Table(caption, ["metric", *splits], rows))


def _change(change: Difference, clear: bool) -> str:
    return "the same" if change[:3] == (0, 0, 0) else in_points(change, clear, digits=2)


def curves(section: Section, runs: list[Run]) -> None:
    """The logged losses, and mIoU by threshold; all runs in one drawing each."""
    for title, (path, y_label) in CURVES.items():
        attempts = {run.name: section.attempt(_curve, run, title, path) for run in runs}
        drawn = {name: table for name, table in attempts.items() if table is not None}
        if drawn:
            section.curves.append((title, draw_curves(drawn, y_label=y_label)))


def _curve(run: Run, title: str, path: str) -> pd.DataFrame:
    table = pd.read_csv(run.path(path))
    if table.empty:
        raise Absent(f"{title}: {run.name} has none, {path} is empty.")
    return table


def what_was_run(section: Section, runs: list[Run]) -> None:
    """Commits, the machine, weights, hashes of the data, and all parameters."""
    commits = [[run.name, run.commit] for run in runs]
    section.tables.append(Table("Commit", ["run", "commit"], commits))
    for run in runs:
        section.attempt(_weights, section, run)
        section.attempt(_hashes, section, run)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    about = {
        **versions(),
        "device": device_name(device),
        "cores": str(os.cpu_count()),
        "system": platform.platform(),
    }
    machine = [[name, value] for name, value in about.items()]
    section.tables.append(Table("Where this report was made", ["what", "which"], machine))
    for name in dict.fromkeys(name for run in runs for name in run.params):
        leaves = [flat(run.params.get(name, {})) for run in runs]
        keys = dict.fromkeys(key for values in leaves for key in values)
        rows = [[key, *(shown(values.get(key, MISSING)) for values in leaves)] for key in keys]
        head = ["parameter", *(run.name for run in runs)]
        section.tables.append(Table(name, head, rows, side=True))


def _weights(section: Section, run: Run) -> None:
    clip = run.json("models/clip.json")
    rows = [
        [role, part, str(clip[role][part])]
        for role in ("backbone", "scorer")
        for part in ("name", "weights", "sha256", "imagenet")
        if clip[role].get(part) is not None
    ]
    imagenet = clip.get("imagenet") or {}
    rows += [["ImageNet ResNet", part, str(value)] for part, value in imagenet.items()]
    caption = f"{run.name}: CLIP (models/clip.json)"
    section.tables.append(Table(caption, ["role", "part", "value"], rows))


def _hashes(section: Section, run: Run) -> None:
    """The outputs of every stage of this run, and the data that no stage made.

    Code is left out: the commit identifies it.
    """
    made = [(out, stage) for stage, entry in run.lock.items() for out in entry.get("outs", [])]
    written = {out["path"] for out, _ in made}
    deps = [dep for entry in run.lock.values() for dep in entry.get("deps", [])]
    read = {dep["path"]: dep for dep in deps if not _is_code(dep["path"])}
    inputs = [
        (dep, "an input")
        for path, dep in read.items()
        if not any(path == out or path.startswith(f"{out}/") for out in written)
    ]
    rows = [_hash_row(entry, stage) for entry, stage in [*inputs, *made]]
    head = ["path", "made by", "MD5", "bytes"]
    section.tables.append(Table(f"{run.name}: data (dvc.lock)", head, rows))


def _is_code(path: str) -> bool:
    """Whether a dependency is a module or a room of this package; its assets are data."""
    in_package = path.startswith(("tris_core/", "stages/")) and "/assets" not in path
    return path.endswith(".py") or in_package


def _hash_row(entry: Mapping[str, Any], stage: str) -> list[str]:
    return [entry["path"], stage, entry.get("md5", ""), f"{entry.get('size', 0):,}"]
