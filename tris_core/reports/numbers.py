"""The sections of a report that are numbers and text: metrics, differences, curves, and what was run."""

import os
import platform
from collections.abc import Callable
from functools import partial

import pandas as pd
import torch

from tris_core.evaluation.records import in_order
from tris_core.reports.compare import differences
from tris_core.reports.content import Section, Table
from tris_core.reports.curves import draw_curves
from tris_core.reports.experiments import Absent
from tris_core.reports.paper import Row, beside, beside_prms
from tris_core.reports.provenance import MISSING, flat, shown
from tris_core.reports.run import Run
from tris_core.runtime.environment import device_name, versions
from tris_core.runtime.errors import InputError

STEPS = {1: "Step-1, response maps", 2: "Step-2, predictions"}
CURVES = {
    "Step-1's losses": ("metrics/curves/step1.csv", "loss"),
    "Boundary network's losses": ("metrics/curves/irn.csv", "loss"),
    "Step-2's losses": ("metrics/curves/step2.csv", "loss"),
    "Step-1's mIoU against the threshold": ("metrics/curves/step1_thresholds.csv", "mIoU"),
}
LABELS = "metrics/pseudo_labels.json"
PAPER = "paper"


def percent(fraction: float) -> str:
    return f"{100 * fraction:.2f}"


def metrics(section: Section, runs: list[Run]) -> None:
    """A table per step with the paper's rows, PRMS's gains and the pseudo-labels."""
    for step, title in STEPS.items():
        _measured(
            section,
            runs,
            f"{title}, percent",
            partial(Run.metrics, step=step),
            partial(beside, step=step),
        )
    for caption, path, paper in (
        (
            "mIoU of all response maps, and of those that PRMS selects, percent",
            "metrics/prms.json",
            beside_prms,
        ),
        (
            "mIoU of the selected maps at their best threshold, and of the pseudo-labels, percent",
            LABELS,
            lambda *of: {},
        ),
    ):
        _measured(section, runs, caption, partial(Run.json, path=path), paper)
    if not any(row[1].startswith(PAPER) for table in section.tables for row in table.rows):
        section.notes.append(
            f"The paper has no number for {' or '.join(dict.fromkeys(run.label for run in runs))}."
        )


def _measured(
    section: Section,
    runs: list[Run],
    caption: str,
    read: Callable[[Run], dict[str, dict[str, float]]],
    paper: Callable[[str, str], Row],
) -> None:
    """A table of what `read` gives of every run that has it, with the paper's row below each split that has one."""
    found = {
        run.name: content for run in runs if (content := section.attempt(read, run)) is not None
    }
    columns = list(
        dict.fromkeys(
            name for content in found.values() for row in content.values() for name in row
        )
    )
    rows = []
    for split in dict.fromkeys(split for content in found.values() for split in content):
        for name, content in found.items():
            if split in content:
                rows.append(
                    [
                        split,
                        name,
                        *(
                            percent(content[split][c]) if c in content[split] else ""
                            for c in columns
                        ),
                    ]
                )
        for data in dict.fromkeys(run.label for run in runs):
            if theirs := paper(data, split):
                rows.append(
                    [
                        split,
                        f"{PAPER}, {data}",
                        *(f"{theirs[c]:.2f}" if c in theirs else "" for c in columns),
                    ]
                )
    if rows:
        section.tables.append(Table(caption, ["split", "run", *columns], rows))
    elif found:
        section.notes.append(f"{caption}: no ref has a true mask, so nothing was measured.")


def kinds_of_expressions(section: Section, runs: list[Run], step: int, split: str) -> None:
    """The stored breakdowns of one split: a table per kind, a line per group and run."""
    path = f"data/evaluation/step{step}/breakdowns.parquet"
    found = [
        table
        for run in runs
        if (table := section.attempt(_breakdown, run, path, split)) is not None
    ]
    if not found:
        return
    named, columns = ["run"] if len(runs) > 1 else [], ["mIoU", "P@0.5", "PointM"]
    for by, table in pd.concat(found).sort_values("order", kind="stable").groupby("by", sort=False):
        rows = [
            [
                row["group"],
                *row[named],
                str(row["expressions"]),
                *(percent(row[c]) for c in columns),
            ]
            for _, row in table.iterrows()
        ]
        section.tables.append(
            Table(str(by), ["group", *named, "number", *columns], rows, side=True)
        )


def _breakdown(run: Run, path: str, split: str) -> pd.DataFrame:
    table = run.table(path)
    table = table[table["split"] == split]
    return table.assign(run=run.name, order=table.groupby("by").cumcount())


def changes(section: Section, first: Run, second: Run) -> None:
    """Parameters that differ, and the difference of every metric on every split with its interval."""
    before, after = (flat(run.params) for run in (first, second))
    pairs = {
        name: (before.get(name, MISSING), after.get(name, MISSING))
        for name in dict.fromkeys([*after, *before])
    }
    rows = [
        [name, shown(one), shown(other)] for name, (one, other) in pairs.items() if one != other
    ]
    if rows:
        section.tables.append(
            Table("Parameters that differ", ["parameter", first.name, second.name], rows)
        )
    else:
        section.notes.append("All parameters are the same.")
    for step, title in STEPS.items():
        section.attempt(_step_changes, section, first, second, step, title)


def _step_changes(section: Section, first: Run, second: Run, step: int, title: str) -> None:
    one, other = first.records(step), second.records(step)
    columns = {}
    for split in in_order(pd.concat([one["split"], other["split"]])):
        try:
            found = differences(one[one["split"] == split], other[other["split"] == split])
        except InputError as error:
            section.notes.append(f"{title}, {split}: {error}.")
            continue
        columns[split] = [_change(row.difference, row.low, row.high) for row in found.itertuples()]
        names = list(found.index)
    if columns:
        rows = [[name, *cells] for name, *cells in zip(names, *columns.values(), strict=True)]
        caption = f"{title}: {second.name} less {first.name}, points [95 % interval]"
        section.tables.append(Table(caption, ["metric", *columns], rows))


def _change(difference: float, low: float, high: float) -> str:
    if low == difference == high == 0:
        return "the same"
    undecided = " undecided" if low <= 0 <= high else ""
    return f"{100 * difference:+.2f} [{100 * low:+.2f}, {100 * high:+.2f}]{undecided}"


def curves(section: Section, runs: list[Run]) -> None:
    """What the trainings logged, and mIoU against the threshold, of all runs in one drawing each."""
    for title, (path, y_label) in CURVES.items():
        drawn = {
            run.name: table
            for run in runs
            if (table := section.attempt(_curve, run, title, path)) is not None
        }
        if drawn:
            section.curves.append((title, draw_curves(drawn, y_label=y_label)))


def _curve(run: Run, title: str, path: str) -> pd.DataFrame:
    table = pd.read_csv(run.path(path))
    if table.empty:
        raise Absent(f"{title}: {run.name} has none, {path} is empty.")
    return table


def what_was_run(section: Section, runs: list[Run]) -> None:
    """Commits, the machine, weights, hashes of the data, and all parameters."""
    section.tables.append(
        Table("Commit", ["run", "commit"], [[run.name, run.commit] for run in runs])
    )
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
    section.tables.append(
        Table("Where this report was made", ["what", "which"], [[k, v] for k, v in about.items()])
    )
    for name in dict.fromkeys(name for run in runs for name in run.params):
        leaves = [flat(run.params.get(name, {})) for run in runs]
        keys = dict.fromkeys(key for values in leaves for key in values)
        rows = [[key, *(shown(values.get(key, MISSING)) for values in leaves)] for key in keys]
        section.tables.append(
            Table(name, ["parameter", *(run.name for run in runs)], rows, side=True)
        )


def _weights(section: Section, run: Run) -> None:
    clip = run.json("models/clip.json")
    rows = [
        [role, part, str(clip[role][part])]
        for role in ("backbone", "scorer")
        for part in ("name", "weights", "sha256", "imagenet")
        if clip[role].get(part) is not None
    ]
    section.tables.append(
        Table(f"{run.name}: CLIP (models/clip.json)", ["role", "of it", "value"], rows)
    )


def _hashes(section: Section, run: Run) -> None:
    """What every stage of this run wrote, and the data that no stage wrote; code is told by the commit."""
    made = [(out, stage) for stage, content in run.lock.items() for out in content.get("outs", [])]
    written = {out["path"] for out, _ in made}
    read = {
        d["path"]: d
        for content in run.lock.values()
        for d in content.get("deps", [])
        if not d["path"].endswith(".py")
    }
    inputs = [
        (d, "an input")
        for path, d in read.items()
        if not any(path == w or path.startswith(f"{w}/") for w in written)
    ]
    rows = [
        [d["path"], stage, d.get("md5", ""), f"{d.get('size', 0):,}"]
        for d, stage in [*inputs, *made]
    ]
    section.tables.append(
        Table(f"{run.name}: data (dvc.lock)", ["path", "made by", "MD5", "bytes"], rows)
    )
