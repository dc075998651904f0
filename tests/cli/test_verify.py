"""`tris verify`: released files evaluated beside the paper's numbers, with a receipt."""

import json
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from tests.support.tiny_refer import TinyRefer
from tests.support.tiny_referit import Tiny
from tests.support.tiny_released import formula_state, imported, released
from tris_core.annotations.index import build_index
from tris_core.cli.main import app
from tris_core.cli.verify import data_set_of, verify
from tris_core.data.rle import decode
from tris_core.predict import Predictor
from tris_core.reports.paper import REFERIT_TEST, TABLE1
from tris_core.runtime.errors import InputError
from tris_core.runtime.files import sha256_of_file

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Formula weights: both steps of a data set, Step-1 of another, one without its data set."""
    folder = tmp_path_factory.mktemp("released")
    released(formula_state("step1"), folder / "stage1_refcocog_google.pth")
    released(formula_state("step2"), folder / "stage2_refcocog_google.pth")
    (folder / "stage1_referit.pth").symlink_to(folder / "stage1_refcocog_google.pth")
    (folder / "stage2_refcoco+.pth").symlink_to(folder / "stage2_refcocog_google.pth")
    return folder


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    Tiny().write(folder)
    return TinyRefer().write(folder, "refcocog", "google")


@pytest.fixture(scope="module")
def expected(
    folder: Path, root: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[tuple[int, str, str], float]:
    """mIoU and PointM in percent by step and split, from the models a user would predict with."""
    models = tmp_path_factory.mktemp("models")
    for step in (1, 2):
        imported(folder / f"stage{step}_refcocog_google.pth", models / str(step))
    predictor = Predictor.load(models / "1", models / "2")
    index = build_index(root, "refcocog", "google", "refer/refcocog")
    truth = index.truth.to_pandas().set_index("ref_id")
    path_of = dict(
        zip(index.images["image_id"].to_pylist(), index.images["path"].to_pylist(), strict=True)
    )
    refs = index.refs.to_pandas().merge(index.expressions.to_pandas(), on="ref_id")
    numbers: dict[tuple[int, str, str], list[float]] = {}
    for row in refs[refs["split"] != "train"].itertuples():
        made = predictor.predict(root / path_of[row.image_id], [row.text])[0]
        one = truth.loc[row.ref_id]
        true = decode(one["counts"], one["height"], one["width"])
        first = np.unravel_index(made.response.argmax(), true.shape)
        for step, mask, point in (
            (1, made.response > 1e-9, first),
            (2, made.mask, made.point[::-1]),
        ):
            iou = (mask & true).sum() / (mask | true).sum()
            numbers.setdefault((step, row.split, "mIoU"), []).append(100 * iou)
            numbers.setdefault((step, row.split, "PointM"), []).append(100 * bool(true[point]))
    return {key: float(np.mean(values)) for key, values in numbers.items()}


def run(folder: Path, root: Path, receipt: Path) -> tuple[int, str]:
    command = [
        "verify",
        str(folder),
        "--data",
        str(root),
        "--receipt",
        str(receipt),
        "--device",
        "cpu",
    ]
    result = CliRunner().invoke(app, command)
    return result.exit_code, result.output


@dataclass(frozen=True)
class Verified:
    """What one `tris verify` left and said."""

    receipt: dict[str, Any]
    code: int
    said: str

    def rows(self, file: str) -> dict[tuple[str, str], dict[str, Any]]:
        """A file's rows by split and metric."""
        of_file = [row for row in self.receipt["rows"] if row["file"] == file]
        return {(row["split"], row["metric"]): row for row in of_file}


@pytest.fixture(scope="module")
def verified(
    folder: Path,
    root: Path,
    expected: dict[tuple[int, str, str], float],
    tmp_path_factory: pytest.TempPathFactory,
) -> Verified:
    """`tris verify` beside a paper whose numbers are ours plus 0.09, and 0 for ReferIt."""
    place = tmp_path_factory.mktemp("verified")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRIS_SCRATCH", str(place / "scratch"))
        for step in (1, 2):
            ours = {metric: expected[step, "val", metric] for metric in ("mIoU", "PointM")}
            paper = {metric: round(value, 2) + 0.09 for metric, value in ours.items()}
            patch.setitem(TABLE1[f"step{step}"], "refcocog google val", paper)
        patch.setitem(TABLE1["step1"], REFERIT_TEST, {"mIoU": 0.0, "PointM": 0.0})
        code, said = run(folder, root, place / "receipt.json")
    return Verified(json.loads((place / "receipt.json").read_text()), code, said)


def test_the_numbers_are_those_of_the_predictor(
    verified: Verified, expected: dict[tuple[int, str, str], float]
) -> None:
    for (step, split, metric), value in expected.items():
        row = verified.rows(f"stage{step}_refcocog_google.pth")[split, metric]
        assert row["ours"] == pytest.approx(value, abs=0.02), (step, split, metric)
        assert (row["difference"] is None) == (split == "testA")  # not in the paper
    assert "train" not in {row["split"] for row in verified.receipt["rows"]}


def test_referit_is_also_measured_over_its_large_boxes(verified: Verified) -> None:
    rows = verified.rows("stage1_referit.pth")
    assert rows["test", "mIoU"]["paper"] is None
    assert rows["test (boxes over 5%)", "mIoU"]["paper"] == 0.0


def test_only_numbers_far_from_the_paper_are_errors(verified: Verified) -> None:
    rows = verified.receipt["rows"]
    far = [row for row in rows if row["difference"] and abs(row["difference"]) > 0.1]
    assert verified.code == (1 if far else 0)
    assert {row["file"] for row in far} <= {"stage1_referit.pth"}
    assert f"{len(far)} more than 0.1 point" in verified.said


def test_a_checkpoint_without_its_data_set_is_named(verified: Verified) -> None:
    assert verified.receipt["absent"] == ["stage2_refcoco+.pth"]
    assert "not evaluated" in verified.said


def test_the_receipt_holds_what_the_files_tell(
    verified: Verified, folder: Path, root: Path
) -> None:
    files = {file["file"]: file for file in verified.receipt["files"]}
    one = files["stage1_refcocog_google.pth"]
    assert one["source"]["sha256"] == sha256_of_file(folder / "stage1_refcocog_google.pth")
    assert one["source"]["found"]["temperature"] == pytest.approx(0.07)
    assert len(one["source"]["found"]["optimizer"]) == 2
    assert one["counts"]["val"] == {"images": 1, "refs": 1, "expressions": 2}
    annotations, refs = verified.receipt["data"]["refcocog google"], "refer/refcocog/refs(google).p"
    assert annotations[refs] == sha256_of_file(root / refs)
    assert verified.receipt["versions"]["torch"] == version("torch")


@pytest.mark.parametrize(("away", "code"), [(0.1, 0), (0.11, 1)])
def test_more_than_a_tenth_of_a_point_is_an_error(
    folder: Path,
    away: float,
    code: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TRIS_SCRATCH", str(tmp_path / "scratch"))
    only = tmp_path / "only"
    only.mkdir()
    (only / "stage1_refcocog_google.pth").symlink_to(folder / "stage1_refcocog_google.pth")
    data = TinyRefer().write(tmp_path / "data", "refcocog", "google")
    first = verify(only, data, scratch=tmp_path, device=CPU, say=print)
    ours = {row["metric"]: row["ours"] for row in first["rows"] if row["split"] == "val"}
    paper = {"mIoU": ours["mIoU"] - away, "PointM": ours["PointM"]}
    monkeypatch.setitem(TABLE1["step1"], "refcocog google val", paper)
    assert run(only, data, tmp_path / "receipt.json")[0] == code


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("stage1_refcocog_umd", ("refcocog", "umd")),
        ("Stage2_RefCOCOg_google", ("refcocog", "google")),
        ("stage1_refcoco", ("refcoco", "unc")),
        ("stage2_refcoco+", ("refcoco+", "unc")),
        ("stage2_refcocoplus_unc", ("refcoco+", "unc")),
        ("stage1_referit", ("referit", "none")),
    ],
)
def test_the_name_tells_the_data_set(name: str, data: tuple[str, str]) -> None:
    assert data_set_of(Path(f"{name}.pth")) == data


@pytest.mark.parametrize(
    "name", ["stage1", "stage1_refcocog", "stage1_refcocog_umd_google", "stage1_flickr"]
)
def test_an_unclear_name_is_refused_before_any_evaluation(
    name: str, root: Path, tmp_path: Path
) -> None:
    (tmp_path / f"{name}.pth").write_bytes(b"")
    code, said = run(tmp_path, root, tmp_path / "receipt.json")
    assert code == 1
    assert f"{name}.pth: the name does not tell the data set; rename it" in said
    assert not (tmp_path / "receipt.json").exists()


def test_nothing_to_evaluate_is_an_error(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no \*\.pth in there"):
        verify(tmp_path, tmp_path, scratch=tmp_path, device=CPU, say=print)
    code, said = run(folder, tmp_path, tmp_path / "receipt.json")
    assert code == 1
    assert "holds the data set of none of" in said
