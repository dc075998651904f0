"""The page about a run: measured numbers, order, escaping, and notes about missing results."""

import json
import re
import shutil
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML
from typer.testing import CliRunner

from stages._artifacts import EVALUATION, METRICS, PREDICTIONS, TRUTH, open_index
from tests.support.finished_run import HOSTILE, evaluate_with_truth_for, md5, write_lock
from tests.support.in_process import set_param
from tris_core.cli.main import app
from tris_core.evaluation.metrics import ious
from tris_core.reports.compare import differences
from tris_core.reports.experiments import RunFiles
from tris_core.reports.galleries import worst_first
from tris_core.reports.page import write_page
from tris_core.runtime.parquet import write_table


@dataclass
class Page(HTMLParser):
    """The content of a page.

    Attributes:
        tables: rows of cells, by section and caption.
        articles: title and facts of each, by section.
    """

    tables: dict[tuple[str, str], list[list[str]]] = field(default_factory=dict)
    articles: dict[str, list[list[str]]] = field(default_factory=dict)
    text: str = ""
    tags: set[str] = field(default_factory=set)
    references: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()
        self.section, self.caption, self.stack = "", "", [""]

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.references += [
            value or "" for name, value in attributes if name in ("src", "href", "xlink:href")
        ]
        if tag == "section":
            self.section = dict(attributes)["id"] or ""
        elif tag == "tr":
            self.tables.setdefault((self.section, self.caption), []).append([])
        elif tag == "article":
            self.articles.setdefault(self.section, []).append([])
        elif tag in ("th", "td"):
            self.tables[self.section, self.caption][-1].append("")
        elif tag == "figcaption":
            self.caption = ""
        self.stack.append(tag)

    def handle_endtag(self, tag: str) -> None:
        while self.stack.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        self.text += data
        if self.stack[-1] in ("th", "td"):
            self.tables[self.section, self.caption][-1][-1] += data
        elif self.stack[-1] == "figcaption":
            self.caption += data
        elif self.stack[-1] == "h4" or (self.stack[-1] == "p" and "article" in self.stack):
            self.articles[self.section][-1].append(data)

    def table(self, section: str, caption: str) -> pd.DataFrame:
        head, *rows = next(
            rows
            for (of, name), rows in self.tables.items()
            if of == section and name.startswith(caption)
        )
        return pd.DataFrame(rows, columns=head)


def report(*arguments: str) -> Page:
    """The page about the working directory, in which all results are of one run."""
    if Path("dvc.lock").exists():
        write_lock()
    result = CliRunner().invoke(
        app, ["page", *arguments, "--out", "page.html"], catch_exceptions=False
    )
    assert result.exit_code == 0, result.output
    return parsed(Path("page.html"))


def parsed(path: Path) -> Page:
    page = Page()
    page.feed(path.read_text())
    return page


@pytest.fixture(scope="module")
def whole(finished_once: Path) -> Page:
    """Everything about the train split of the finished run. Do not change the run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(finished_once)
        return report("--split", "train", "--items", "1000")


def test_every_stored_metric_is_in_its_table(whole: Page, finished: Path) -> None:
    tables = {
        "step1": "Step-1",
        "step2": "Step-2",
        "prms": "mIoU of all response maps",
        "pseudo_labels": "mIoU of the selected",
    }
    assert {path.stem for path in METRICS.glob("*.json")} == set(tables)
    for name, caption in tables.items():
        shown = whole.table("metrics", caption).set_index("split")
        stored = json.loads((METRICS / f"{name}.json").read_text())
        full = EVALUATION / name / "metrics.json"
        if full.is_file():
            everything = json.loads(full.read_text())["metrics"]
            assert all(len(values) == 10 for values in everything.values())
            stored = {split: {**everything[split], **values} for split, values in stored.items()}
        assert list(shown.index) == list(stored) != []
        for split, values in stored.items():
            for metric, value in values.items():
                where = (name, split, metric)
                cell = float(shown.loc[split, metric])
                assert cell == pytest.approx(100 * value, abs=0.0051), where
    assert "The paper has no number for shapes." in whole.text


def test_the_papers_numbers_are_below_ours(finished: Path) -> None:
    set_param("dataset.name", "refcocog")
    set_param("dataset.split_by", "umd")
    page = report()

    def theirs(caption: str, split: str, step: str = "Step-1") -> "pd.Series[str]":
        rows = page.table("metrics", caption).set_index(["split", "run"])
        return rows.loc[(split, "paper, refcocog umd: TRIS " + step)]

    step1, step2 = theirs("Step-1", "train"), theirs("Step-2", "val", "Step-2")
    assert step1[["mIoU", "PointIt", "P@0.5"]].tolist() == ["27.81", "66.99", "12.75"]
    assert step2[["mIoU", "PointM", "oIoU"]].tolist() == ["36.19", "58.84", ""]
    assert theirs("mIoU of all", "val").tolist() == ["26.62", "27.06"]
    others = page.table("metrics", "Step-2").set_index(["split", "run"])["mIoU"]
    assert others["val", "paper, refcocog umd: WWbL"] == "21.75"


def test_missing_images_are_noted(finished: Path) -> None:
    shutil.rmtree("data/shapes/images")
    assert "its image files are missing" in report().text


def test_parameters_hashes_weights_and_versions(whole: Page, finished: Path) -> None:
    content = YAML(typ="safe").load(Path("params.yaml"))
    assert {name for section, name in whole.tables if section == "what"} >= set(content)
    for section, name, value in (("train_step2", "width", "8"), ("refine", "from", "null")):
        table = whole.table("what", section).set_index("parameter")
        assert table.loc[name, "workspace"] == value
    hashes = whole.table("what", "workspace: data")
    assert ["data/index", "index", md5(Path("data/index")), "12,345"] in hashes.values.tolist()
    assert not hashes["path"].str.startswith(("stages", "tris_core")).any()
    clip = json.loads(Path("models/clip.json").read_text())
    assert clip["backbone"]["sha256"] in whole.table("what", "workspace: CLIP")["value"].tolist()
    made = whole.table("what", "Where this report").set_index("what")["which"]
    assert {"python", "torch", "open_clip_torch", "tris", "device"} <= set(made.index)


def ious_shown(articles: list[list[str]]) -> list[float]:
    return [
        float(found[1])
        for article in articles
        if (found := re.match(r"IoU ([\d.]+) %", article[1]))
    ]


def test_predictions_are_shown_worst_first(whole: Page, finished: Path) -> None:
    records = pd.read_parquet(EVALUATION / "step2" / "records.parquet").query("split == 'train'")
    expected = sorted(100 * ious(records))
    assert ious_shown(whole.articles["gallery"]) == pytest.approx(expected, abs=0.051)
    some = ious_shown(report("--split", "train", "--items", "6").articles["gallery"])
    assert some[:4] == pytest.approx(expected[:4], abs=0.051)
    assert some[-1] == pytest.approx(expected[-1], abs=0.051)
    assert len(some) == 6


@given(st.lists(st.floats(0, 1), min_size=1, max_size=40, unique=True), st.integers(1, 40))
def test_worst_first_takes_the_worst_and_some_of_the_rest(values: list[float], n: int) -> None:
    iou = pd.Series(values, index=np.arange(len(values)) + 7)
    chosen = iou[worst_first(iou, n)]
    assert chosen.is_monotonic_increasing
    assert chosen.index.is_unique
    assert len(chosen) == min(n, len(values))
    assert set(chosen) >= set(sorted(values)[: min(n - n // 3, len(values))])
    if n >= 3:
        assert max(chosen) == max(values)


def test_sentences_and_file_names_stay_text(whole: Page) -> None:
    assert "script" not in whole.tags
    assert "b" not in whole.tags
    titles = [article[0] for article in whole.articles["gallery"]]
    assert HOSTILE in titles
    assert any("<b>shapes_" in article[1] for article in whole.articles["gallery"])
    assert HOSTILE in whole.text.replace("\n", "")
    assert all(value.startswith(("data:image/jpeg;base64,", "#")) for value in whole.references)


def test_every_kind_is_counted_as_the_metrics_count(whole: Page, finished: Path) -> None:
    table = whole.table("failures", "Expressions of each kind").set_index("kind")["workspace"]
    counts = table.str.split(",").str[0].astype(int)
    metrics = json.loads((EVALUATION / "step2" / "metrics.json").read_text())
    assert counts.sum() == metrics["counts"]["train"]["expressions"]
    assert counts["correct"] / counts.sum() == pytest.approx(metrics["metrics"]["train"]["P@0.5"])
    shown = {article[1].split(" · ")[1] for article in whole.articles["failures"]}
    assert shown == set(counts.index[counts > 0])


def test_prms_choices_and_strips(finished: Path) -> None:
    page = report("--items", "6")
    assert len(page.articles["choices"]) == 1
    assert len(page.articles["strips"]) == 1
    prms = pd.read_parquet("data/prms.parquet")
    ref = int(page.articles["choices"][0][0].removeprefix("ref "))
    source = Path("page.html").read_text()
    choices = source[source.index('<section id="choices"') : source.index('<section id="strips"')]
    maps = (prms["ref_id"] == ref).sum()
    assert choices.count("<img") == maps + 2  # and the image and the true mask
    assert choices.count('class="chosen"') == 1
    strips = source[source.index('<section id="strips"') : source.index('<section id="curves"')]
    assert re.findall("<figcaption>([a-z, -]+)", strips) == [
        "image",
        "selected response",
        "seeds",
        "walk, pseudo-label",
        "truth",
    ]


def test_curves_without_data_are_noted(finished: Path) -> None:
    page = report("--items", "1")
    assert Path("page.html").read_text().count("<svg") == 2  # step1.csv and the thresholds
    assert "metrics/curves/step2.csv is empty" in page.text
    assert "metrics/curves/irn.csv is missing" in page.text


def test_a_run_that_stopped_after_step_1(finished: Path) -> None:
    for gone in ("predictions.parquet", "pseudo_labels.parquet", "crf_seeds.parquet"):
        Path("data", gone).unlink()
    shutil.rmtree(EVALUATION / "step2")
    (METRICS / "step2.json").unlink()
    Path("dvc.lock").unlink()
    page = report()
    assert "masks are those of Step-1" in page.text
    assert page.table("metrics", "Step-1")["split"].tolist() == ["train", "val", "test"]
    assert ious_shown(page.articles["gallery"]) == sorted(ious_shown(page.articles["gallery"]))
    metrics = json.loads((EVALUATION / "step1" / "metrics.json").read_text())["metrics"]["val"]
    correct = page.table("failures", "Expressions of each kind")["workspace"][0]
    assert correct.endswith(f", {100 * metrics['P@0.5']:.2f} %")
    assert "strips" not in page.articles
    for missing in ("data/pseudo_labels.parquet", "metrics/step2.json", "dvc.lock"):
        assert f"{missing} is missing" in page.text


def test_nothing_but_parameters_and_metrics(finished: Path) -> None:
    """A clone without its data."""
    shutil.rmtree("data")
    shutil.rmtree("models")
    page = report()
    stored = json.loads((METRICS / "step2.json").read_text())["val"]["mIoU"]
    assert (
        page.table("metrics", "Step-2").set_index("split").loc["val", "mIoU"]
        == f"{100 * stored:.2f}"
    )
    assert not page.articles


def test_refs_without_truth_and_supplied_pseudo_labels(finished: Path) -> None:
    truth = pd.read_parquet(TRUTH)
    write_table(TRUTH, truth.iloc[:0])
    records = pd.read_parquet(EVALUATION / "step2" / "records.parquet")
    for step in ("step1", "step2"):
        write_table(EVALUATION / step / "records.parquet", records.iloc[:0])
    set_param("refine.from", "theirs.parquet")
    labels = pd.read_parquet("data/crf_seeds.parquet")
    write_table(Path("data/crf_seeds.parquet"), labels.iloc[:0])
    page = report()
    n = (pd.read_parquet(PREDICTIONS)["split"] == "val").sum()
    assert f"{n} of {n} expressions have no true mask and no IoU." in page.text
    assert len(page.articles["gallery"]) == min(n, 36)
    assert "Pseudo-labels were supplied (refine.from: theirs.parquet)" in page.text
    assert page.articles["strips"]
    assert "Some refs; none has a true mask" in page.text


def test_new_predictions_are_not_shown_beside_old_metrics(finished: Path) -> None:
    made = pd.read_parquet(PREDICTIONS)
    write_table(PREDICTIONS, made.assign(counts=made["counts"].to_numpy()[::-1]))
    page = report()
    assert "gallery" not in page.articles
    assert "data/predictions.parquet has changed since it was evaluated" in page.text


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--split", "testA"], "--split testA: workspace has train, val, test"),
        (["a=workspace", "b=workspace", "c=workspace"], "a page is about one run or two"),
        (["a=workspace", "a=workspace"], "a page is about one run or two of different names"),
    ],
)
def test_refusals(finished: Path, arguments: list[str], words: str) -> None:
    result = CliRunner().invoke(app, ["page", *arguments, "--out", "page.html"])
    assert result.exit_code == 1
    assert words in result.output
    assert not Path("page.html").exists()


class Elsewhere(RunFiles):
    """The files of a run in another folder."""

    def __init__(self, name: str, folder: Path) -> None:
        super().__init__(name, "workspace", folder)
        self.root = folder


def test_two_runs(finished: Path, tmp_path: Path) -> None:
    shutil.copytree(finished, tmp_path / "first")
    ids = pd.read_parquet(PREDICTIONS)["expression_id"]
    evaluate_with_truth_for(ids % 2 == 0)
    write_lock()
    files = [Elsewhere("one", tmp_path / "first"), Elsewhere("two", Path().resolve())]
    write_page(Path("page.html"), files, step=None, split="train", items=1000)
    page = parsed(Path("page.html"))
    owners = open_index().joined()
    before, after = (
        pd.read_parquet(folder / EVALUATION / "step2" / "records.parquet")
        .query("split == 'train'")
        .merge(owners[["expression_id", "image_id"]], on="expression_id")
        for folder in (tmp_path / "first", Path())
    )
    shown = page.table("changes", "Step-2").set_index("metric")["train"]
    expected = differences(before, after)
    moved = {metric: change for metric, change in expected.items() if change.value}
    assert moved
    for metric, change in moved.items():
        numbers = [float(number) for number in re.findall(r"[+-][\d.]+", shown[metric])]
        assert numbers == pytest.approx([100 * value for value in change[:3]], abs=0.0051)
        assert "images only" in shown[metric]
    assert set(page.table("changes", "Step-1").set_index("metric")["train"]) == {"the same"}
    assert "All parameters are the same." in page.text
    won = ((ious(before) < 0.5) & (ious(after) >= 0.5)).sum()
    assert won > 0
    assert f"Won: {won} of {len(before)}" in page.text
    assert f"Lost: 0 of {len(before)}" in page.text
    assert len(page.articles["flips"]) == won


def test_two_runs_of_which_one_has_no_predictions(finished: Path, tmp_path: Path) -> None:
    shutil.copytree(finished, tmp_path / "first")
    (tmp_path / "first" / PREDICTIONS).unlink()
    files = [Elsewhere("one", tmp_path / "first"), Elsewhere("two", Path().resolve())]
    write_page(Path("page.html"), files, step=2, split="val", items=6)
    page = parsed(Path("page.html"))
    assert page.articles["gallery"]
    assert "flips" not in page.articles
    assert page.table("failures", "Expressions of each kind").columns.tolist() == [
        "kind",
        "two",
        "meaning",
    ]
