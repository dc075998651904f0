"""Collect the results of the experiments of docs/results.md: `uv run python -m docs.measured`.

Writes two files and the tables of README.md and docs/results.md, which docs/drawn.py draws from
them. Nothing in those tables is typed by hand, and what has not been run is in neither file.

- docs/results.json: `{table: {row: {metric: [a value per seed]}}}`, in [0, 1]. Metrics are named by
  split and name, as `test_mIoU`; `best` is mIoU at the threshold that is best on val.
- docs/differences.json: `{table: {row: {metric: [difference, low, high, p, over seeds]}}}`, the
  row less the one that its table compares with (`tris_core.reports.statistics.Difference`).
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from docs.drawn import DIFFERENCES, PARTS, RESULTS, Content, draw_pages, stored
from tris_core.cli.common import Baseline, exit_on_input_error
from tris_core.data.truth import Truth
from tris_core.evaluation.controls import controls
from tris_core.reports.compare import samples
from tris_core.reports.experiments import RunFiles, experiments, group_of
from tris_core.reports.statistics import difference
from tris_core.reports.table import Groups, at_best_threshold, read_run
from tris_core.responses.file import ResponseFile
from tris_core.runtime.errors import InputError
from tris_core.runtime.files import replacing

DIGITS = 5
Metrics = dict[str, float]
Rows = dict[str, dict[str, list[float]]]  # by row and metric
Measure = Callable[[RunFiles], Metrics]


def step(files: RunFiles, *, number: int) -> Metrics:
    """Every metric of a step's masks, by split; of Step-1 also at the threshold best on val."""
    path = f"data/evaluation/step{number}/metrics.json"
    splits = json.loads(files.result(path).read_text())["metrics"]
    found = {f"{split}_{name}": v for split, row in splits.items() for name, v in row.items()}
    best = at_best_threshold(files) if number == 1 else {}
    return found | {f"{split}_best": value for split, value in best.items() if split in splits}


def prms(files: RunFiles, *, which: str) -> Metrics:
    """mIoU of all maps (`without`), or with each object's replaced by the selected (`with`)."""
    splits = json.loads(files.result("metrics/prms.json").read_text())
    return {f"{split}_mIoU": row[which] for split, row in splits.items()}


def labels(files: RunFiles) -> Metrics:
    """mIoU of the pseudo-labels, and of the selected maps at their best threshold (`selected`)."""
    of_train = json.loads(files.result("metrics/pseudo_labels.json").read_text())["train"]
    return {"train_mIoU": of_train["pseudo_mIoU"], "train_selected": of_train["response_mIoU"]}


def bounds(files: RunFiles) -> Metrics:
    """What needs the ground truth or no model: `tris_core.evaluation.controls`."""
    truth = Truth.open(files.result("data/truth.parquet"))
    maps = ResponseFile(files.result("data/responses.parquet"))
    threshold = files.yaml("params.yaml")["evaluate_step1"]["threshold"]
    table = controls(maps, truth, size=maps.size, threshold=threshold).set_index("control")
    wanted = {"best expression": "mIoU", "whole image": "mIoU", "centre": "PointM"}
    return {
        f"{row['split']}_{metric} {name}": row[metric]
        for name, metric in wanted.items()
        for _, row in table.loc[[name]].iterrows()
    }


def whole(files: RunFiles) -> Metrics:
    """The metrics of all parts of a run, with the part's name in front."""
    parts: dict[str, Measure] = {
        "step1": step1,
        "prms": partial(prms, which="with"),
        "labels": labels,
        "step2": step2,
    }
    return {f"{part}_{k}": v for part, measure in parts.items() for k, v in measure(files).items()}


def later(files: RunFiles) -> Metrics:
    """As `whole`, of pseudo-labels and Step-2 only."""
    found = {"labels": labels(files), "step2": step2(files)}
    return {f"{part}_{k}": v for part, row in found.items() for k, v in row.items()}


step1, step2 = partial(step, number=1), partial(step, number=2)


@dataclass(frozen=True)
class Table:
    """A table of docs/results.json.

    Attributes:
        rows: by row, the group of experiments (`full` for full-1, full-2, ...) and what to read.
        against: by row, the row it is compared with.
        steps: whose masks are compared, by what stands before the name of a metric.
        splits: on which they are compared.
    """

    rows: dict[str, tuple[str, Measure]]
    against: dict[str, str] = field(default_factory=dict)
    steps: Mapping[str, int] = field(default_factory=lambda: {"": 1})
    splits: tuple[str, ...] = ("train", "test")


def same(measure: Measure, *groups: str) -> dict[str, tuple[str, Measure]]:
    """Rows named as their groups, all read alike."""
    return {group: (group, measure) for group in groups}


def to(first: str, *others: str) -> dict[str, str]:
    return dict.fromkeys(others, first)


NEGATIVES = tuple(f"n-{n}" for n in (0, 1, 5, 11, 23, 47, 59))
SAME_IMAGE = tuple(f"k-{k}" for k in (3, 6, 12))
CUTS = [f"{method}-{cut}" for method in ("threshold", "crf") for cut in ("0.1", "0.2", "0.3")]
RESOLUTIONS = ("resolution-1.0", "resolution-0.25", "exact-0.25")
TABLES = {
    "default": Table(
        {
            "step1": ("default", step1),
            "prms": ("default", partial(prms, which="with")),
            "pseudo_labels": ("default", labels),
            "step2": ("default", step2),
        }
    ),
    "table3": Table(same(step1, "full", *PARTS), to("full", *PARTS)),
    "table4": Table({which: ("prms", partial(prms, which=which)) for which in ("without", "with")}),
    "table5": Table(
        same(step1, *NEGATIVES, *SAME_IMAGE), to("n-47", *NEGATIVES) | to("k-6", *SAME_IMAGE)
    ),
    "controls": Table(
        same(step1, "full", "shuffled", "untrained") | {"bounds": ("default", bounds)},
        to("full", "shuffled", "untrained"),
    ),
    "refiners": Table(same(labels, "default", *CUTS, *RESOLUTIONS)),
    "baselines": Table(
        same(whole, "default", "dense-clip", "grad-cam"),
        to("default", "dense-clip", "grad-cam"),
        {"step1_": 1, "step2_": 2},
        ("test",),
    ),
    "supervision": Table(
        same(later, "default", "boxes", "boxes-crf", "masks"),
        to("default", "boxes", "boxes-crf", "masks"),
        {"step2_": 2},
        ("test",),
    ),
}


def collect(table: Table, known: Mapping[str, str]) -> tuple[Rows, Rows]:
    """The values of a table's rows that were run, and their differences.

    Args:
        known: all experiments, by name.

    Returns:
        Both by row and metric.

    Raises:
        InputError: if a result is not in DVC's cache, or no experiment ran what a row needs.
    """
    members = {
        row: [(name, known[name]) for name in sorted(known) if group_of(name) == group]
        for row, (group, _) in table.rows.items()
    }
    members = {row: runs for row, runs in members.items() if runs}
    values, changes = {}, {}
    for row, of_row in members.items():
        runs = Groups({row: of_row}, list(known)).read(table.rows[row][1])[row]
        values[row] = {key: [round(run[key], DIGITS) for run in runs] for key in runs[0]}
    for row, first in table.against.items():
        if row != first and {row, first} <= members.keys():
            pair = Groups({name: members[name] for name in (first, row)}, list(known))
            changes[row] = _differences(pair, table)
    return values, changes


def _differences(pair: Groups, table: Table) -> dict[str, list[float]]:
    """The differences of the second group to the first."""
    found = {}
    for prefix, number in table.steps.items():
        for split in table.splits:
            first, second = pair.read(partial(read_run, step=number, split=split)).values()
            pooled = samples([run.records for run in (*first, *second)])
            n = len(first)
            for metric, sample in pooled.items():
                change = difference(sample[:n], sample[n:])
                rounded = [round(number, DIGITS) for number in change[:3]]
                found[f"{prefix}{split}_{metric}"] = [*rounded, change.p, change.over_seeds]
    return found


def store(path: Path, content: Content) -> None:
    """Write JSON with a line per metric."""
    tables = []
    for table, rows in content.items():
        drawn = []
        for row, metrics in rows.items():
            lines = [f"      {json.dumps(name)}: {json.dumps(v)}" for name, v in metrics.items()]
            drawn.append(f"    {json.dumps(row)}: {{\n" + ",\n".join(lines) + "\n    }")
        inside = "{\n" + ",\n".join(drawn) + "\n  }" if drawn else "{}"
        tables.append(f"  {json.dumps(table)}: {inside}")
    with replacing(path) as temporary:
        temporary.write_text("{\n" + ",\n".join(tables) + "\n}\n")


def main(
    tables: Annotated[list[str] | None, typer.Argument(help="of docs/results.json; or all")] = None,
    baseline: Baseline = "HEAD",
    draw_only: Annotated[bool, typer.Option("--draw", help="collect nothing")] = False,
) -> None:
    """Collect tables from experiments and draw them. Tables that are not named stay as they are."""
    with exit_on_input_error():
        unknown = set(tables or ()) - TABLES.keys()
        if unknown:
            raise InputError(f"{', '.join(unknown)}: no such table; there are {', '.join(TABLES)}")
        if not draw_only:
            known = experiments(baseline)
            results, differences = stored(RESULTS), stored(DIFFERENCES)
            for name in tables or TABLES:
                results[name], differences[name] = collect(TABLES[name], known)
                missing = [row for row in TABLES[name].rows if row not in results[name]]
                typer.echo(f"{name}: not run: {', '.join(missing) or 'nothing'}")
            store(RESULTS, results)
            store(DIFFERENCES, differences)
        draw_pages()


if __name__ == "__main__":
    typer.run(main)
