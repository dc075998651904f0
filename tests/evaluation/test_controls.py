"""Bounds and baselines against plain loops."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from tests.support.tiny_index import INDEX, TRUTH, make_truth, write_index
from tris_core.cli.main import app
from tris_core.evaluation.controls import controls
from tris_core.evaluation.records import by_image, threshold_curve
from tris_core.responses.file import raw_maps, write_responses

SIZE = 64
BOXES = make_truth().set_index("ref_id")[["x0", "y0", "x1", "y1"]]
USES_TRUTH = {
    "all maps": False,
    "best expression": True,
    "best threshold": True,
    "whole image": False,
    "centre": False,
}


@pytest.fixture(scope="module")
def responses() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    table = INDEX.joined()[["expression_id", "ref_id", "image_id", "split"]]
    maps = rng.normal(size=(len(table), 4)).astype(np.float32)
    return table.assign(height=2, width=2, map=list(maps))


@pytest.fixture(scope="module")
def table(responses: pd.DataFrame) -> pd.DataFrame:
    made = controls([responses], TRUTH, size=SIZE, threshold=0.3)
    return made.set_index(["split", "control"])


def test_bounds_are_those_of_loops(table: pd.DataFrame, responses: pd.DataFrame) -> None:
    val = responses[responses["split"] == "val"]
    ious: dict[int, list[float]] = {}
    for rows, maps in by_image([val], TRUTH.sizes, SIZE, lambda *made: made):
        for row, response in zip(rows.itertuples(), maps.numpy(), strict=True):
            mask, predicted = TRUTH.mask(row.ref_id), response > np.float32(0.3)
            iou = (predicted & mask).sum() / (predicted | mask).sum()
            ious.setdefault(row.ref_id, []).append(iou)
    flat = [iou for of_ref in ious.values() for iou in of_ref]
    best = [max(of_ref) for of_ref in ious.values() for _ in of_ref]
    assert table.loc[("val", "all maps"), "mIoU"] == pytest.approx(np.mean(flat))
    assert table.loc[("val", "best expression"), "mIoU"] == pytest.approx(np.mean(best))
    assert np.mean(best) > np.mean(flat)


def test_trivial_baselines_are_those_of_loops(table: pd.DataFrame, responses: pd.DataFrame) -> None:
    whole, in_mask, in_box = [], [], []
    for ref_id in responses.loc[responses["split"] == "val", "ref_id"]:
        mask = TRUTH.mask(ref_id)
        y, x = mask.shape[0] // 2, mask.shape[1] // 2
        x0, y0, x1, y1 = BOXES.loc[ref_id]
        whole.append(mask.mean())
        in_mask.append(mask[y, x])
        in_box.append(x0 <= x <= x1 and y0 <= y <= y1)
    assert table.loc[("val", "whole image"), "mIoU"] == pytest.approx(np.mean(whole))
    assert table.loc[("val", "centre"), "PointM"] == pytest.approx(np.mean(in_mask))
    assert table.loc[("val", "centre"), "PointIt"] == pytest.approx(np.mean(in_box))


def test_best_threshold_is_the_maximum_of_the_curve(
    table: pd.DataFrame, responses: pd.DataFrame
) -> None:
    val = responses[responses["split"] == "val"]
    curve = threshold_curve([val], TRUTH, size=SIZE)["val"]
    row = table.loc[("val", "best threshold")]
    assert (row["threshold"], row["mIoU"]) == (curve.idxmax(), pytest.approx(curve.max()))


def test_every_split_has_every_control(table: pd.DataFrame) -> None:
    assert table.index.get_level_values("split").unique().tolist() == ["train", "val"]
    assert table.xs("val")["uses_truth"].to_dict() == USES_TRUTH


def test_command(responses: pd.DataFrame, tmp_path: Path) -> None:
    index, out = write_index(tmp_path / "index"), tmp_path / "out.json"
    path = tmp_path / "responses.parquet"
    arguments = ["controls", "--index", str(index), "--responses", str(path), "--out", str(out)]
    refused = CliRunner().invoke(app, arguments)
    assert refused.exit_code == 1
    assert "responses.parquet: not found" in refused.output
    with write_responses(path, SIZE) as write:
        write(responses, raw_maps(responses).numpy())
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    rows = json.loads(out.read_text())["controls"]
    expected = controls([responses], TRUTH, size=SIZE, threshold=1e-9)["mIoU"]
    assert [row["mIoU"] for row in rows] == pytest.approx(
        [None if np.isnan(value) else value for value in expected]
    )
    assert rows[0]["oIoU"] is None
    assert "best expression" in result.output
