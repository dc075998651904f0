"""Bounds and baselines against plain loops."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from tests.support.tiny_index import EXPRESSIONS, REFS, make_truth, write_index
from tris_core.cli.main import app
from tris_core.data.rle import decode
from tris_core.evaluation.controls import controls
from tris_core.evaluation.records import by_image, threshold_curve
from tris_core.runtime.files import write_sealed_json
from tris_core.runtime.parquet import write_table

TRUTH = make_truth().set_index("ref_id")
SIZE = 64


@pytest.fixture(scope="module")
def responses() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    table = EXPRESSIONS.merge(REFS, on="ref_id")[["expression_id", "ref_id", "image_id", "split"]]
    maps = rng.normal(size=(len(table), 4)).astype(np.float32)
    return table.assign(height=2, width=2, map=list(maps))


def test_controls_are_those_of_loops(responses: pd.DataFrame) -> None:
    threshold = 0.3
    table = controls([responses], TRUTH, size=SIZE, threshold=threshold).set_index(
        ["split", "control"]
    )
    val = responses[responses["split"] == "val"]
    ious: dict[int, list[float]] = {}
    whole, inside, boxed = [], [], []
    for rows, maps in by_image([val], TRUTH, SIZE, lambda *made: made):
        for row, response in zip(rows.itertuples(), maps.numpy(), strict=True):
            true = TRUTH.loc[row.ref_id]
            mask = decode(true["counts"], true["height"], true["width"])
            predicted = response > np.float32(threshold)
            ious.setdefault(row.ref_id, []).append(
                (predicted & mask).sum() / (predicted | mask).sum()
            )
            whole.append(mask.mean())
            y, x = mask.shape[0] // 2, mask.shape[1] // 2
            inside.append(mask[y, x])
            boxed.append(true["x0"] <= x <= true["x1"] and true["y0"] <= y <= true["y1"])
    flat = [iou for of_ref in ious.values() for iou in of_ref]
    best = [max(of_ref) for of_ref in ious.values() for _ in of_ref]
    assert table.loc[("val", "all maps"), "mIoU"] == pytest.approx(np.mean(flat))
    assert table.loc[("val", "best expression"), "mIoU"] == pytest.approx(np.mean(best))
    assert np.mean(best) > np.mean(flat)
    assert table.loc[("val", "whole image"), "mIoU"] == pytest.approx(np.mean(whole))
    assert table.loc[("val", "centre"), "PointM"] == pytest.approx(np.mean(inside))
    assert table.loc[("val", "centre"), "PointIt"] == pytest.approx(np.mean(boxed))
    curve = threshold_curve([val], TRUTH, size=SIZE)["val"]
    row = table.loc[("val", "best threshold")]
    assert (row["threshold"], row["mIoU"]) == (curve.idxmax(), pytest.approx(curve.max()))
    assert table.index.get_level_values("split").unique().tolist() == ["train", "val"]
    assert table.xs("val")["uses_truth"].to_dict() == {
        "all maps": False, "best expression": True, "best threshold": True, "whole image": False, "centre": False
    }  # fmt: skip


def test_command(responses: pd.DataFrame, tmp_path: Path) -> None:
    index = write_index(tmp_path / "index")
    write_sealed_json(tmp_path / "packed.json", {"size": SIZE})
    arguments = [
        "controls",
        "--index",
        str(index),
        "--packed",
        str(tmp_path / "packed.json"),
        "--out",
        str(tmp_path / "out.json"),
    ]
    arguments += ["--responses", str(tmp_path / "responses.parquet")]
    refused = CliRunner().invoke(app, arguments)
    assert refused.exit_code == 1
    assert "responses.parquet: not found" in refused.output
    write_table(tmp_path / "responses.parquet", responses)
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    rows = json.loads((tmp_path / "out.json").read_text())["controls"]
    expected = controls([responses], TRUTH, size=SIZE, threshold=1e-9)
    assert [row["mIoU"] for row in rows] == pytest.approx(
        [None if np.isnan(v) else v for v in expected["mIoU"]]
    )
    assert rows[0]["oIoU"] is None
    assert "best expression" in result.output


@pytest.mark.parametrize("shape", ["mask", "box"])
def test_oracle_labels_are_the_truth_of_train(shape: str, tmp_path: Path) -> None:
    index, out = write_index(tmp_path / "index"), tmp_path / "labels.parquet"
    result = CliRunner().invoke(
        app, ["oracle-labels", shape, "--out", str(out), "--index", str(index)]
    )
    assert result.exit_code == 0, result.output
    labels = pd.read_parquet(out)
    assert labels["ref_id"].tolist() == REFS.loc[REFS["split"] == "train", "ref_id"].tolist()
    for row in labels.itertuples():
        true = TRUTH.loc[row.ref_id]
        made, mask = (
            decode(row.counts, row.height, row.width),
            decode(true["counts"], true["height"], true["width"]),
        )
        if shape == "box":
            y, x = np.nonzero(mask)
            full = np.zeros_like(mask)
            full[y.min() : y.max() + 1, x.min() : x.max() + 1] = True
            mask = full
        np.testing.assert_array_equal(made, mask)


def test_oracle_labels_need_the_truth(tmp_path: Path) -> None:
    index = write_index(tmp_path / "index")
    truth = pd.read_parquet(index / "truth.parquet")
    write_table(index / "truth.parquet", truth[truth["ref_id"] != 13])
    command = [
        "oracle-labels",
        "box",
        "--out",
        str(tmp_path / "labels.parquet"),
        "--index",
        str(index),
    ]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 1
    assert "1 train refs have no true mask (first: ref 13)" in result.output
    assert not (tmp_path / "labels.parquet").exists()
