"""`tris check-data`: counts and expectations, missing and shared images, exit codes."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.support.tiny_refer import TinyRefer, annotation, ref, square
from tests.support.tiny_referit import Tiny
from tris_core.annotations.check import EXPECTED, check_data
from tris_core.cli.main import app
from tris_core.runtime.errors import InputError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """RefCOCOg's google partition with an image in train and val, and ReferIt."""
    tiny = TinyRefer()
    tiny.refs[3]["split"] = "val"
    Tiny().write(tmp_path)
    return tiny.write(tmp_path, "refcocog", "google")


def run(root: Path, *options: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["check-data", str(root), *options])
    return result.exit_code, result.output


def test_expected_numbers_add_up_to_the_published_totals() -> None:
    def totals(name: str, split_by: str) -> list[int]:
        rows = [counts for key, counts in EXPECTED.items() if key[:2] == (name, split_by)]
        return [sum(column) for column in zip(*rows, strict=True)]  # type: ignore[arg-type]

    assert totals("refcoco", "unc") == [50_000, 142_210, 19_994]
    assert totals("refcoco+", "unc") == [49_856, 141_564, 19_992]
    assert totals("refcocog", "umd") == [49_822, 95_010, 25_799]
    assert totals("refcocog", "google")[:2] == [49_822, 95_010]  # its splits share images


def test_the_table_shows_counts_and_expectations(root: Path) -> None:
    report = check_data(root, subset=False)
    rows = report.table.set_index(["data set", "split"])
    assert rows["refs / expressions / images"].to_dict() == {
        ("refcocog (google)", "train"): "2 / 3 / 1",
        ("refcocog (google)", "val"): "2 / 3 / 2",
        ("referit (none)", "train"): "3 / 3 / 2",
        ("referit (none)", "test"): "1 / 1 / 1",
    }
    expectations = rows[["expected", "verdict"]]
    val = expectations.loc[("refcocog (google)", "val")]
    assert val.tolist() == ["5,000 / 9,536 / 4,650", "differs"]
    assert expectations.loc[("referit (none)", "test")].tolist() == ["not known", ""]
    assert len(report.faults) == 2
    assert not check_data(root, subset=True).faults


def test_expected_counts_are_not_faults(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(EXPECTED, ("refcocog", "google", "train"), (2, 3, 1))
    monkeypatch.setitem(EXPECTED, ("refcocog", "google", "val"), (2, None, 2))
    report = check_data(root, subset=False)
    assert report.faults == []
    assert report.table["verdict"].tolist() == ["ok", "ok", "", ""]


def test_a_missing_split_differs(root: Path) -> None:
    tiny = TinyRefer()
    for row in tiny.refs:
        row["split"] = "train"
    root = tiny.write(root / "other", "refcocog", "umd")
    row = check_data(root, subset=False).table.set_index("split").loc["test"]
    assert (row["refs / expressions / images"], row["verdict"]) == ("0 / 0 / 0", "differs")


def test_shared_images_are_named_with_a_fix(root: Path) -> None:
    tiny = TinyRefer()
    tiny.annotations = [annotation(1, 7, [square(1, 1)])]
    tiny.refs = [ref(1, 1, 7, "train", {1: "thing"})]
    (root / "train2014").rename(root / "kept")
    tiny.write(root, "refcoco", "unc")
    notes = "\n".join(check_data(root, subset=True).notes)
    google, referit = "refcocog (google)", "referit (none)"
    for note in (
        f"1 image of {google} train also in {google} val (b.jpg); index.exclude_images_of: [val]",
        f"1 image of refcoco (unc) train also in {google} val (grey.jpg); a model trained",
        f"1 image of {referit} train also in {referit} test (7.jpg); index.exclude_images_of: [te",
    ):
        assert note in notes


def test_missing_images_are_named_and_set_the_exit_code(root: Path) -> None:
    code, output = run(root)
    assert code == 1
    assert "pass --subset" in output
    code, output = run(root, "--subset")
    assert (code, output.splitlines()[-1]) == (0, "nothing is missing of this subset")
    (root / "train2014" / "grey.jpg").unlink()
    (root / "referit" / "images" / "7.jpg").unlink()
    code, output = run(root, "--subset")
    assert code == 1
    assert "refcocog (google): 1 of 2 images missing in" in output
    assert "(7.jpg); unpack the images there" in output


def test_unreadable_annotations_do_not_hide_the_others(root: Path) -> None:
    (root / "refer" / "refcocog" / "refs(umd).p").write_bytes(b"no pickle")
    (root / "refer" / "refclef").mkdir()
    (root / "refer" / "refclef" / "refs(unc).p").write_bytes(b"")
    report = check_data(root, subset=True)
    assert len(report.table) == 4
    assert len(report.faults) == 1
    assert "refs(umd).p: not a readable pickle" in report.faults[0]
    assert "refclef/refs(unc).p: not a data set and partition" in report.notes[0]


def test_an_empty_root_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="unpack a download there"):
        check_data(tmp_path, subset=False)
    assert run(tmp_path)[0] == 1
