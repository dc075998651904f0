"""The measured tables come from docs/results.json, and that from experiments."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest

from docs.drawn import DIFFERENCES, DRAWINGS, MARKED, PAGES, PAPER, RESULTS, Drawing, drawn, stored
from docs.measured import TABLES, Table, collect, prms, store, whole
from docs.measured import step1 as of_step1
from tests.support.tiny_runs import Runs, write_runs
from tris_core.reports.compare import samples
from tris_core.reports.statistics import difference
from tris_core.runtime.errors import InputError

RESULTS_NOW, DIFFERENCES_NOW = stored(RESULTS), stored(DIFFERENCES)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_shows_what_was_measured(page: Path) -> None:
    text = page.read_text()
    fix = "run: uv run python -m docs.measured --draw"
    assert drawn(text, RESULTS_NOW, DIFFERENCES_NOW) == text, fix
    assert text.count("<!-- table ") == len(MARKED.findall(text)) > 0


def test_every_table_is_on_a_page() -> None:
    shown = {name for page in PAGES for _, name, _ in MARKED.findall(page.read_text())}
    assert shown == {*DRAWINGS, *PAPER}


def test_drawings_are_of_rows_and_metrics_that_are_collected() -> None:
    for drawing in DRAWINGS.values():
        assert drawing.rows.keys() <= TABLES[drawing.table].rows.keys()
        compared = TABLES[drawing.table]
        for metric in drawing.changes.values():
            prefix, split = metric.removesuffix(f"_{metric.split('_')[-1]}").rpartition("_")[::2]
            assert split in compared.splits, metric
            assert (f"{prefix}_" if prefix else "") in compared.steps, metric


def test_results_hold_a_value_per_seed() -> None:
    assert RESULTS_NOW.keys() == TABLES.keys()
    for table, rows in RESULTS_NOW.items():
        assert rows.keys() <= TABLES[table].rows.keys()
        for metrics in rows.values():
            assert len({len(values) for values in metrics.values()}) == 1
            assert all(0 <= value <= 1 for values in metrics.values() for value in values)
    for table, rows in DIFFERENCES_NOW.items():
        for row, metrics in rows.items():
            assert {row, TABLES[table].against[row]} <= RESULTS_NOW[table].keys()
            for value, low, high, p, _ in metrics.values():
                assert low <= value <= high
                assert 0 <= p <= 1


def test_a_table_from_results() -> None:
    drawing = Drawing(
        "t",
        {"full": "`full`", "cls": "`cls`", "later": "later"},
        {"test mIoU": "test_mIoU", "test PointM": "test_PointM"},
        {"against `full`": "test_mIoU"},
        {"full": {"mIoU": 27.81}, "later": {"mIoU": 20.43}},
    )
    results = {
        "t": {"full": {"test_mIoU": [0.41, 0.43]}, "cls": {"test_mIoU": [0.5], "test_PointM": [1]}}
    }
    sure, unsure = [0.08, 0.02, 0.14, 0.02, False], [0.08, 0.02, 0.14, 0.06, True]
    for change, verdict in ((sure, " images only"), (unsure, " undecided")):
        lines = drawing.lines(results, {"t": {"cls": {"test_mIoU": change}}})
        assert lines == [
            ["", "paper mIoU", "seeds", "test mIoU", "test PointM", "against `full`"],
            ["`full`", "27.81", "2", "42.0 ± 1.4", "", ""],
            ["`cls`", "", "1", "50.0", "100.0", "+8.0 [+2.0, +14.0]" + verdict],
            ["later", "20.43", "not run", "", "", ""],
        ]


def test_verdicts_are_of_all_that_a_drawing_shows() -> None:
    change = [0.08, 0.02, 0.14, 0.02, True]
    drawing = Drawing("t", {"a": "a", "b": "b", "c": "c"}, {}, {"": "m"})
    rows = {row: {"m": change} for row in "abc"}
    assert [line[-1] for line in drawing.lines({}, {"t": {"a": {"m": change}}})][1:] == [
        "+8.0 [+2.0, +14.0]",
        "",
        "",
    ]
    assert all(line[-1].endswith("undecided") for line in drawing.lines({}, {"t": rows})[1:])


def test_only_marked_tables_are_drawn() -> None:
    page = "| a |\n<!-- table paper4 -->\nold\n<!-- end -->\n| b |\n"
    text = drawn(page, {}, {})
    assert text.startswith("| a |\n<!-- table paper4 -->\n| paper, mIoU | without | with |\n| ---")
    assert text.endswith("| refcocog umd val | 26.62 | 27.06 |\n<!-- end -->\n| b |\n")
    assert drawn(text, {}, {}) == text
    with pytest.raises(KeyError):
        drawn(page.replace("paper4", "paper9"), {}, {})


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Runs:
    names = ("full-1", "full-2", "full-3", "cls-1", "cls-2", "fuller-1")
    return write_runs(monkeypatch, tmp_path, names)


def test_tables_are_collected_from_experiments(runs: Runs, tmp_path: Path) -> None:
    known, records = runs
    rows = {name: (name, of_step1) for name in ("full", "cls", "later")}
    table = Table(rows, {"cls": "full", "later": "full"}, splits=("val",))
    values, changes = collect(table, known)
    assert list(values) == ["full", "cls"]
    of_full = [records[f"full-{seed}"] for seed in (1, 2, 3)]
    of_cls = [records[f"cls-{seed}"] for seed in (1, 2)]
    for row, runs_ in (("full", of_full), ("cls", of_cls)):
        for metric, sample in samples(runs_).items():
            assert values[row][f"val_{metric}"] == pytest.approx(sample.values, abs=1e-5)
        assert values[row]["val_best"] == [0.5] * len(runs_)
        assert values[row]["train_best"] == [0.2] * len(runs_)
    pooled = samples([*of_full, *of_cls])
    assert list(changes) == ["cls"]
    assert changes["cls"].keys() == {f"val_{metric}" for metric in pooled}
    for metric, sample in pooled.items():
        expected = difference(sample[:3], sample[3:])
        assert changes["cls"][f"val_{metric}"] == pytest.approx([*expected], abs=1e-5, nan_ok=True)
    store(tmp_path / "out.json", {"t": values, "none": {}})
    assert stored(tmp_path / "out.json") == {"t": values, "none": {}}


def test_parts_of_a_run_are_named(runs: Runs) -> None:
    known, _ = runs
    rows = {"cls": ("cls", whole), "with": ("full", partial(prms, which="with"))}
    values, changes = collect(Table(rows), known)
    assert changes == {}
    assert values["with"] == {"val_mIoU": [0.2, 1.2, 2.2]}
    assert values["cls"]["labels_train_mIoU"] == [0.4, 0.4]
    assert values["cls"]["prms_val_mIoU"] == [3.2, 4.2]
    assert values["cls"]["step1_val_mIoU"] == values["cls"]["step2_val_mIoU"]
    assert np.ptp(values["cls"]["step2_val_mIoU"]) > 0


def test_a_result_that_is_missing_is_no_row_that_was_not_run(runs: Runs) -> None:
    known, _ = runs
    (Path(known["cls-1"]) / "metrics" / "prms.json").unlink()
    with pytest.raises(InputError, match=r"cls-1: metrics/prms\.json is missing"):
        collect(Table({"cls": ("cls", partial(prms, which="with"))}), known)
