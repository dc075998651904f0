"""Masks from anywhere are evaluated as the pipeline's own: `tris score`, `tris export`, stages."""

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from typer.testing import CliRunner

from tests.support.tiny_index import (
    EXPRESSIONS,
    INDEX,
    SIZES,
    TRUTH,
    make_predictions,
    make_truth,
    write_index,
)
from tris_core.cli.main import app
from tris_core.cli.score import By
from tris_core.data.maps import to_original
from tris_core.data.rle import decode, encode
from tris_core.evaluation.boxes import hit_box_iou
from tris_core.evaluation.breakdowns import describe
from tris_core.evaluation.mask_files import read_masks
from tris_core.evaluation.metrics import score_image
from tris_core.evaluation.outputs import write_evaluation
from tris_core.evaluation.records import score_rows
from tris_core.evaluation.scoring import score_file
from tris_core.runtime.errors import InputError
from tris_core.runtime.parquet import write_table
from tris_core.step2.inference import to_rows

POINT_METRICS = {"PointM", "PointIt"}


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_index(tmp_path_factory.mktemp("project") / "index")


@pytest.fixture
def predictions(tmp_path: Path) -> Path:
    make_predictions(3).to_parquet(tmp_path / "predictions.parquet", index=False)
    return tmp_path / "predictions.parquet"


def export(source: Path, kind: str, target: Path) -> Path:
    result = CliRunner().invoke(
        app, ["export", str(source), "--format", kind, "--out", str(target)]
    )
    assert result.exit_code == 0, result.output
    return target


def measured(path: Path, index: Path) -> dict[str, float]:
    metrics: dict[str, float] = score_file(path, "val", index).content["metrics"]["val"]
    return metrics


def test_stored_rows_score_as_their_logits() -> None:
    ids, ref_ids = np.array([0, 1, 2, 3]), np.array([10, 10, 11, 11])
    height, width = SIZES[1]
    small = torch.randn(4, 6, 6, generator=torch.Generator().manual_seed(0))
    small[2] = -small[2].abs()  # an empty mask
    full = to_original(small, height=height, width=width).numpy()
    direct = score_image(ids, full, full > 0.1, TRUTH.masks(ref_ids), TRUTH.boxes(ref_ids))
    rows = to_rows(ids, small, height=height, width=width, threshold=0.1)
    pd.testing.assert_frame_equal(score_rows(rows.assign(ref_id=ref_ids), TRUTH), direct)
    np.testing.assert_allclose(rows["score"], 1 / (1 + np.exp(-full.max(axis=(1, 2)))), rtol=1e-6)
    small[1, 2, 2] = torch.nan
    with pytest.raises(ValueError, match="expression 1 holds NaN"):
        to_rows(ids, small, height=height, width=width, threshold=0.1)


def test_metrics_are_those_of_a_loop_over_pixels(predictions: Path, index: Path) -> None:
    truth, made = make_truth().set_index("ref_id"), make_predictions(3)
    intersections, unions, in_mask, in_box, boxes = [], [], [], [], []
    for row in made[made["split"] == "val"].itertuples():
        true = truth.loc[row.ref_id]
        mask, target = (
            decode(row.counts, row.height, row.width),
            decode(true["counts"], row.height, row.width),
        )
        intersections.append(
            sum(bool(a and b) for a, b in zip(mask.flat, target.flat, strict=True))
        )
        unions.append(sum(bool(a or b) for a, b in zip(mask.flat, target.flat, strict=True)))
        in_mask.append(target[row.y, row.x])
        in_box.append(true["x0"] <= row.x <= true["x1"] and true["y0"] <= row.y <= true["y1"])
        box = true[["x0", "y0", "x1", "y1"]].to_numpy().astype(np.int64)
        boxes.append(hit_box_iou(mask, box))
    ious = np.array(intersections) / np.array(unions)
    content = score_file(predictions, "val", index).content
    assert content["metrics"]["val"] == {
        "mIoU": pytest.approx(ious.mean()),
        "oIoU": pytest.approx(sum(intersections) / sum(unions)),
        **{f"P@{t}": pytest.approx((ious >= t).mean()) for t in (0.5, 0.6, 0.7, 0.8, 0.9)},
        "PointM": pytest.approx(np.mean(in_mask)),
        "PointIt": pytest.approx(np.mean(in_box)),
        "Acc_box": pytest.approx(np.mean(boxes)),
    }
    assert content["counts"] == {"val": {"images": 2, "refs": 4, "expressions": 6}}
    assert content["not_measured"] == []
    truth_file = index.with_name("truth.parquet")
    expected = {
        str(path): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in (predictions, truth_file)
    }
    assert content["sha256"] == expected


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 10**6))
def test_every_format_scores_the_same(
    index: Path, tmp_path_factory: pytest.TempPathFactory, seed: int
) -> None:
    folder = tmp_path_factory.mktemp("formats")
    source = folder / "predictions.parquet"
    made = make_predictions(seed)
    made.to_parquet(source, index=False)
    coco, pngs = (
        export(source, "coco", folder / "results.json"),
        export(source, "png", folder / "masks"),
    )
    own = measured(source, index)
    assert measured(coco, index) == own
    assert measured(pngs, index) == {
        name: value for name, value in own.items() if name not in POINT_METRICS
    }
    back = read_masks(coco)
    pd.testing.assert_frame_equal(back, made[list(back)], check_dtype=False)
    assert export(pngs, "coco", folder / "again.json").exists()
    assert measured(folder / "again.json", index) == measured(pngs, index)


def test_the_truth_scores_one(index: Path, tmp_path: Path) -> None:
    rows = EXPRESSIONS.merge(make_truth(), on="ref_id")[
        ["expression_id", "height", "width", "counts"]
    ]
    rows.to_parquet(tmp_path / "perfect.parquet")
    metrics = measured(tmp_path / "perfect.parquet", index)
    assert {name: metrics[name] for name in ("mIoU", "oIoU", "P@0.9")} == {
        "mIoU": 1,
        "oIoU": 1,
        "P@0.9": 1,
    }
    assert not POINT_METRICS & metrics.keys()


def test_uncompressed_runs_and_text_counts_are_read(
    predictions: Path, index: Path, tmp_path: Path
) -> None:
    made = make_predictions(3)
    own = measured(predictions, index)
    made.assign(counts=made["counts"].str.decode("ascii")).to_parquet(tmp_path / "text.parquet")
    assert measured(tmp_path / "text.parquet", index) == own
    records = []
    for row in made.itertuples():
        flat = decode(row.counts, row.height, row.width).flatten(order="F").astype(int)
        edges = np.flatnonzero(np.diff(np.concatenate([[0], flat]))).tolist()
        runs = np.diff([0, *edges, flat.size]).tolist()
        segmentation = {"size": [row.height, row.width], "counts": runs}
        records.append(
            {"expression_id": row.expression_id, "segmentation": segmentation, "image_id": 1}
        )
    (tmp_path / "runs.json").write_text(json.dumps(records))
    assert measured(tmp_path / "runs.json", index) == {
        k: v for k, v in own.items() if k not in POINT_METRICS
    }


def test_missing_masks_are_refused_or_count_as_empty(index: Path, tmp_path: Path) -> None:
    made = make_predictions(3)
    path = tmp_path / "some.parquet"
    made[~made["expression_id"].isin([2, 6])].to_parquet(path)
    with pytest.raises(
        InputError, match=r"2 of 6 expressions of val have no mask, first 2; .*--missing empty"
    ):
        score_file(path, "val", index)
    result = score_file(path, "val", index, missing="empty")
    assert result.content["missing_counted_as_empty"] == 2
    assert "2 expressions without a mask counted as empty masks" in result.remarks
    gone = result.records.set_index("expression_id").loc[[2, 6]]
    assert not gone[["intersection", "hit_mask", "hit_box", "acc_box"]].to_numpy().any()
    assert gone["union"].tolist() == make_truth().set_index("ref_id").loc[[11, 14], "area"].tolist()
    assert result.content["counts"]["val"]["expressions"] == 6


def test_refs_without_truth_are_left_out_with_a_remark(
    index: Path, predictions: Path, tmp_path: Path
) -> None:
    partial = write_index(tmp_path / "index")
    truth_file = partial.with_name("truth.parquet")
    write_table(truth_file, make_truth().iloc[1:])  # ref 10, expressions 0 and 1
    result = score_file(predictions, "val", partial)
    assert result.records["expression_id"].tolist() == [2, 3, 4, 6]
    assert "2 expressions without a true mask left out" in result.remarks
    write_table(truth_file, make_truth().iloc[3:4])
    with pytest.raises(InputError, match="no true mask of split 'val'"):
        score_file(predictions, "val", partial)


def change(**columns: Any) -> pd.DataFrame:
    made = make_predictions(3)
    for column, value in columns.items():
        made[column] = made[column].astype(object)
        made.at[2, column] = value
    return made.infer_objects()


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (
            change(height=13),
            "1 masks have another size than their image, first expression 2: 13 x 17",
        ),
        (change(x=17), "1 points lie outside their image, first expression 2: x 17"),
        (change(expression_id=99), "1 expressions are not in .*, first 99"),
        (change(expression_id=1), "1 expressions occur twice, first 1"),
        (change(counts=b"abc"), "mask of expression 2: run lengths do not add up"),
        (change(x=None), "x of row 2 is missing"),
        (change(y=1.5), "integers are needed"),
        (make_predictions(3).drop(columns="x"), "only one of x and y"),
        (make_predictions(3).drop(columns="counts"), "has no column counts"),
        (make_predictions(3).assign(counts=1), "counts hold int64"),
        (make_predictions(3).iloc[:0], "holds no masks"),
    ],
)
def test_tables_that_cannot_be_scored(
    index: Path, tmp_path: Path, table: pd.DataFrame, message: str
) -> None:
    table.to_parquet(tmp_path / "broken.parquet")
    with pytest.raises(InputError, match=message):
        score_file(tmp_path / "broken.parquet", "val", index)


RUNS = {"size": [12, 17], "counts": encode(np.zeros((12, 17), bool)).decode()}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not JSON"),
        ({}, "holds a dict"),
        ([3], "record 0: needs expression_id and segmentation"),
        (
            [{"expression_id": 0, "segmentation": [[1, 2, 3, 4, 5, 6]]}],
            "record 0: needs expression_id and segmentation",
        ),
        (
            [{"expression_id": 0, "segmentation": {**RUNS, "size": [12]}}],
            r"record 0: size is \[12\]",
        ),
        (
            [{"expression_id": 0, "segmentation": {**RUNS, "size": [12, 16]}}],
            "record 0: run lengths do not add up",
        ),
        ([{"expression_id": "0", "segmentation": RUNS}], "integers are needed"),
        ([{"expression_id": 0, "segmentation": RUNS, "x": 1}], "only one of x and y"),
        ([], "holds no masks"),
    ],
)
def test_results_that_cannot_be_scored(
    index: Path, tmp_path: Path, content: Any, message: str
) -> None:
    path = tmp_path / "results.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(InputError, match=f"results.json: .*{message}"):
        score_file(path, "val", index)


def test_folders_that_cannot_be_scored(index: Path, predictions: Path, tmp_path: Path) -> None:
    folder = export(predictions, "png", tmp_path / "masks")
    grey = np.zeros(SIZES[1], np.uint8)
    grey[0, :3] = 1, 2, 2
    for name, pixels, message in (
        ("01.png", grey, r"01.png: is not named <expression_id>.png"),
        ("0.jpg", grey, r"0.jpg: is not named"),
        ("0.png", grey, "0.png: holds 2 values over 0"),
        ("0.png", np.zeros((*SIZES[1], 3), np.uint8), "0.png: has 3 channels"),
    ):
        before = (folder / "0.png").read_bytes()
        Image.fromarray(pixels).save(folder / name)
        with pytest.raises(InputError, match=message):
            score_file(folder, "val", index)
        (folder / name).unlink()
        (folder / "0.png").write_bytes(before)
    (folder / "0.png").write_bytes(b"none")
    with pytest.raises(InputError, match="cannot be read as an image"):
        score_file(folder, "val", index)


def test_masks_of_ones_are_masks_of_255(index: Path, predictions: Path, tmp_path: Path) -> None:
    folder = export(predictions, "png", tmp_path / "masks")
    expected = measured(folder, index)
    for path in folder.iterdir():
        Image.fromarray(np.asarray(Image.open(path)) // 255).save(path)
    assert measured(folder, index) == expected


def test_missing_files_and_splits(index: Path, predictions: Path, tmp_path: Path) -> None:
    for path, message in (
        (tmp_path / "none.parquet", "not found"),
        (tmp_path / "none", "not found"),
    ):
        with pytest.raises(InputError, match=message):
            score_file(path, "val", index)
    (tmp_path / "text.parquet").write_text("text")
    with pytest.raises(InputError, match="not a Parquet file"):
        score_file(tmp_path / "text.parquet", "val", index)
    (tmp_path / "text.txt").write_text("text")
    with pytest.raises(InputError, match="unknown format"):
        score_file(tmp_path / "text.txt", "val", index)
    with pytest.raises(InputError, match=r"split 'testC' has no expressions; .* has train, val"):
        score_file(predictions, "testC", index)
    with pytest.raises(InputError, match=r"expressions\.parquet: not found"):
        score_file(predictions, "val", tmp_path)


def test_export_destroys_nothing(predictions: Path, tmp_path: Path) -> None:
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "thesis.txt").write_text("all of it")
    for kind, message in (("png", "is not an empty folder"), ("coco", "is a folder")):
        result = CliRunner().invoke(
            app, ["export", str(predictions), "--format", kind, "--out", str(tmp_path / "used")]
        )
        assert result.exit_code == 1
        assert re.search(message, result.output)
    assert (tmp_path / "used" / "thesis.txt").read_text() == "all of it"


def test_command_prints_and_writes(predictions: Path, index: Path, tmp_path: Path) -> None:
    out = tmp_path / "metrics.json"
    arguments = [
        "score",
        str(predictions),
        "--split",
        "val",
        "--index",
        str(index),
        "--out",
        str(out),
    ]
    result = CliRunner().invoke(
        app, [*arguments, *(word for kind in By for word in ("--by", kind))]
    )
    assert result.exit_code == 0, result.output
    content = score_file(predictions, "val", index).content
    assert json.loads(out.read_text()) == content
    assert f"mIoU     {content['metrics']['val']['mIoU']:.4f}" in result.output
    assert "1 masks of other expressions ignored" in result.output
    assert re.search(r"length +>10 +1 ", result.output)
    refusal = CliRunner().invoke(app, [*arguments[:3], "nowhere", *arguments[4:]])
    assert refusal.exit_code == 1
    assert refusal.output.startswith("tris: split 'nowhere'")
    assert (
        CliRunner().invoke(app, [*arguments[:-1], str(tmp_path)]).exit_code == 2
    )  # --out is a folder, and stays one
    assert out.exists()


def test_stages_write_metrics_and_breakdowns(
    index: Path, predictions: Path, tmp_path: Path
) -> None:
    folder, about = tmp_path / "evaluation", {"threshold": 0.5, "rule": "r"}
    cut = pd.read_parquet(index.with_name("tokens.parquet")).set_index("expression_id")["cut"]
    records, facts = score_rows(make_predictions(3), TRUTH), describe(INDEX, TRUTH, cut)
    metrics = write_evaluation(folder, records, facts, about, min_box_fraction=0)
    content = json.loads((folder / "metrics.json").read_text())
    scored = score_file(predictions, "val", index).content
    assert content.pop("metrics") == metrics
    assert metrics["val"] == scored["metrics"]["val"]
    train = {"images": 1, "refs": 1, "expressions": 1}
    assert content.pop("counts") == {**scored["counts"], "train": train}
    assert content == about
    breakdowns = pd.read_parquet(folder / "breakdowns.parquet")
    assert list(breakdowns)[:5] == ["split", "by", "group", "expressions", "mIoU"]
    assert (breakdowns[breakdowns["split"] == "val"].groupby("by")["expressions"].sum() == 6).all()
    assert set(breakdowns["by"]) == set(By)
    assert set(breakdowns.loc[breakdowns["by"] == "cut", "group"]) == {"yes", "no"}


def test_cut_is_unknown_without_tokens(predictions: Path, tmp_path: Path) -> None:
    index = write_index(tmp_path / "project" / "index")
    index.with_name("tokens.parquet").unlink()
    assert set(score_file(predictions, "val", index).facts["cut"]) == {"unknown"}
