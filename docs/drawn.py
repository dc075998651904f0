"""Draw the tables of README.md and docs/results.md from docs/results.json, in percent.

A table stands between `<!-- table NAME -->` and `<!-- end -->`. docs/measured.py draws all of them.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tris_core.reports.compare import in_points, mean
from tris_core.reports.paper import TABLE3, TABLE4, TABLE5, Row, by_name
from tris_core.reports.statistics import Difference, decided

ROOT = Path(__file__).parents[1]
RESULTS, DIFFERENCES = (ROOT / "docs" / f"{name}.json" for name in ("results", "differences"))
PAGES = (ROOT / "README.md", ROOT / "docs" / "results.md")
MARKED = re.compile(r"(<!-- table ([\w-]+) -->\n).*?(<!-- end -->)", re.DOTALL)
NOT_RUN = "not run"
PARTS = ("cls", "cls-t2v", "cls-both", "no-neg", "no-pos", "no-t2v", "no-v2t")
Content = dict[str, dict[str, dict[str, list[float]]]]  # by table, row and metric
Lines = list[list[str]]


def stored(path: Path) -> Content:
    content: Content = json.loads(path.read_text())
    return content


@dataclass(frozen=True)
class Drawing:
    """How a table of docs/results.json is drawn.

    Attributes:
        table: its name there.
        rows: what to call each row.
        columns: the metric of each heading.
        changes: the metric whose difference each heading shows, with its interval.
        paper: the paper's numbers by row, which come first.
    """

    table: str
    rows: dict[str, str]
    columns: dict[str, str]
    changes: dict[str, str] = field(default_factory=dict)
    paper: Mapping[str, Row] = field(default_factory=dict)

    def lines(self, results: Content, differences: Content) -> Lines:
        """Heading and rows. A row that was not run says so."""
        theirs = list(next(iter(self.paper.values()), {}))
        head = ["", *(f"paper {name}" for name in theirs), "seeds", *self.columns, *self.changes]
        measured, drawn = results.get(self.table, {}), self._changes(differences)
        body = []
        for row, name in self.rows.items():
            printed = [
                f"{self.paper.get(row, {})[k]:.2f}" if row in self.paper else "" for k in theirs
            ]
            values = measured.get(row, {})
            seeds = str(len(next(iter(values.values())))) if values else NOT_RUN
            cells = [_mean(values.get(metric)) for metric in self.columns.values()]
            cells += [drawn.get((row, metric), "") for metric in self.changes.values()]
            body.append([name, *printed, seeds, *cells])
        return [head, *body]

    def _changes(self, differences: Content) -> dict[tuple[str, str], str]:
        """The differences that are shown, by row and metric; Holm's correction is over these."""
        rows = differences.get(self.table, {})
        found = {}
        for row in (row for row in self.rows if row in rows):
            for metric in self.changes.values():
                value, low, high, p, over_seeds = rows[row][metric]
                found[row, metric] = Difference(value, low, high, p, bool(over_seeds))
        clear = decided(list(found.values()))
        return {
            key: in_points(change, sure, digits=1)
            for (key, change), sure in zip(found.items(), clear, strict=True)
        }


def _mean(values: list[float] | None) -> str:
    return "" if values is None else mean([100 * value for value in values], digits=1)


def plain(*rows: str) -> dict[str, str]:
    return {row: f"`{row}`" for row in rows}


STAGES = {
    "step1": "Step-1",
    "prms": "the maps that PRMS selects",
    "pseudo_labels": "pseudo-labels",
    "step2": "Step-2",
}
AGAINST_FULL = {
    "test mIoU against `full`": "test_mIoU",
    "test PointM against `full`": "test_PointM",
}
ON_TRAIN = {name: f"train_{name}" for name in ("mIoU", "PointIt", "P@0.5", "PointM")}
ON_TEST = {"test mIoU": "test_mIoU", "test PointM": "test_PointM"}
N = {f"n-{n}": f"N = {n}" for n in (0, 1, 5, 11, 23, 47, 59)}
K = {f"k-{k}": f"K = {k}" for k in (3, 6, 12)}
AT_STEP2 = {
    "test mIoU": "step2_test_mIoU",
    "test PointM": "step2_test_PointM",
}
AGAINST_DEFAULT = {f"{name} against the default": metric for name, metric in AT_STEP2.items()}

DRAWINGS = {
    "default": Drawing(
        "default", STAGES, {**ON_TEST, "val mIoU": "val_mIoU", "train mIoU": "train_mIoU"}
    ),
    "default-all": Drawing(
        "default",
        STAGES,
        {
            f"{split} {name}": f"{split}_{name}"
            for split in ("test", "val", "train")
            for name in ("mIoU", "oIoU", "P@0.5", "PointM")
        },
    ),
    "table3": Drawing(
        "table3",
        plain("full", *PARTS),
        ON_TRAIN,
        {"mIoU against `full`": "train_mIoU", "PointM against `full`": "train_PointM"},
        TABLE3,
    ),
    "table3-test": Drawing("table3", plain("full", *PARTS), ON_TEST, AGAINST_FULL),
    "table4": Drawing(
        "table4",
        {"without": "without PRMS", "with": "with PRMS"},
        {f"{split} mIoU": f"{split}_mIoU" for split in ("test", "val", "train")},
    ),
    "table5-n": Drawing(
        "table5",
        N,
        {name: ON_TRAIN[name] for name in ("mIoU", "PointIt", "PointM")},
        {"mIoU against N = 47": "train_mIoU"},
        TABLE5,
    ),
    "table5-k": Drawing(
        "table5",
        K,
        {name: ON_TRAIN[name] for name in ("mIoU", "PointIt", "PointM")},
        {"mIoU against K = 6": "train_mIoU"},
        TABLE5,
    ),
    "controls": Drawing(
        "controls",
        {"full": "`full`", "shuffled": "trained on shuffled sentences", "untrained": "untrained"},
        {**ON_TEST, "test mIoU at the threshold best on val": "test_best"},
        AGAINST_FULL,
    ),
    "bounds": Drawing(
        "controls",
        {"bounds": "the default's maps"},
        {
            "best expression of every object, mIoU": "test_mIoU best expression",
            "whole image, mIoU": "test_mIoU whole image",
            "centre point, PointM": "test_PointM centre",
        },
    ),
    "refiners": Drawing(
        "refiners",
        {
            "default": "`irn` (the default)",
            **{f"threshold-0.{n}": f"`threshold` at 0.{n} of the maximum" for n in (1, 2, 3)},
            **{f"crf-0.{n}": f"`crf` from 0.{n} of the maximum" for n in (1, 2, 3)},
        },
        {"pseudo-labels": "train_mIoU", "maps at their best threshold": "train_selected"},
    ),
    "resolution": Drawing(
        "refiners",
        {
            "resolution-1.0": "1",
            "default": "0.5 (the default)",
            "resolution-0.25": "0.25",
            "exact-0.25": "0.25, exact filters",
        },
        {"pseudo-labels": "train_mIoU"},
    ),
    "baselines": Drawing(
        "baselines",
        {"default": "TRIS (the default)", "dense-clip": "`dense_clip`", "grad-cam": "`grad_cam`"},
        {
            "Step-1 test mIoU, any positive response": "step1_test_mIoU",
            "at the threshold best on val": "step1_test_best",
            "PointM": "step1_test_PointM",
            "after PRMS, mIoU": "prms_test_mIoU",
            "pseudo-labels, train mIoU": "labels_train_mIoU",
            "Step-2 test mIoU": "step2_test_mIoU",
            "Step-2 test PointM": "step2_test_PointM",
        },
    ),
    "baselines-step2": Drawing(
        "baselines",
        {"dense-clip": "`dense_clip`", "grad-cam": "`grad_cam`"},
        {},
        {
            "Step-1 PointM": "step1_test_PointM",
            "Step-2 mIoU": "step2_test_mIoU",
            "Step-2 PointM": "step2_test_PointM",
        },
    ),
    "supervision": Drawing(
        "supervision",
        {
            "default": "pseudo-labels (the default)",
            "boxes": "true boxes, filled",
            "boxes-crf": "true boxes, CRF",
            "masks": "true masks",
        },
        {"labels, train mIoU": "labels_train_mIoU", **AT_STEP2},
        AGAINST_DEFAULT,
    ),
}


def paper1() -> Lines:
    """Table 1 as printed, in the order of its rows."""
    systems = by_name(1)
    splits = list(systems["AMR"])
    body = []
    for name, rows in systems.items():
        cells = (" / ".join(f"{v:.2f}" for v in rows.get(split, {}).values()) for split in splits)
        body.append([f"{name} (**oIoU**)" if name == "LAVT" else name, *cells])
    return [["mIoU / PointM", *splits], *body]


def paper2() -> Lines:
    rows = [
        [name, *(f"{v:.2f}" for row in rows.values() for v in row.values())]
        for name, rows in by_name(2).items()
    ]
    return [["ReferIt test", "Acc_box", "PointIt"], *rows]


def paper4() -> Lines:
    rows = [[data, f"{row['without']:.2f}", f"{row['with']:.2f}"] for data, row in TABLE4.items()]
    return [["paper, mIoU", "without", "with"], *rows]


PAPER = {"paper1": paper1, "paper2": paper2, "paper4": paper4}


def drawn(page: str, results: Content, differences: Content) -> str:
    """The text of a page with its tables drawn again. Raises `KeyError` for an unknown table."""

    def table(found: re.Match[str]) -> str:
        begin, name, end = found.groups()
        lines = PAPER[name]() if name in PAPER else DRAWINGS[name].lines(results, differences)
        head, *body = lines
        rows = [head, ["---"] * len(head), *body]
        return begin + "".join(f"| {' | '.join(cells)} |\n" for cells in rows) + end

    return MARKED.sub(table, page)


def draw_pages() -> None:
    results, differences = stored(RESULTS), stored(DIFFERENCES)
    for page in PAGES:
        page.write_text(drawn(page.read_text(), results, differences))
