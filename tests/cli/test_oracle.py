"""Ground truth as pseudo-labels, and what is found in true boxes."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from PIL import Image
from typer.testing import CliRunner

from tests.support.closure import ROOT
from tests.support.in_process import set_param
from tests.support.tiny_index import REFS, TRUTH, make_truth, write_index
from tris_core.cli.main import app
from tris_core.cli.oracle import EDGE, peaked, refine_boxes
from tris_core.data.maps import mask_iou
from tris_core.data.rle import decode, encode
from tris_core.runtime.parquet import write_table

SIZE = (60, 80)
COLOURS = {1: (200, 20, 20), 2: (20, 20, 200)}
CIRCLES = {1: (30, 25, 14), 2: (28, 58, 10)}  # by ref: y, x, radius


@pytest.mark.parametrize("shape", ["mask", "box"])
def test_oracle_labels_are_the_truth_of_train(shape: str, tmp_path: Path) -> None:
    index, out = write_index(tmp_path / "index"), tmp_path / "labels.parquet"
    command = ["oracle-labels", shape, "--out", str(out), "--index", str(index)]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    labels = pd.read_parquet(out)
    assert list(labels) == ["ref_id", "height", "width", "counts"]
    assert labels["ref_id"].tolist() == REFS.loc[REFS["split"] == "train", "ref_id"].tolist()
    for row in labels.itertuples():
        made, mask = decode(row.counts, row.height, row.width), TRUTH.mask(row.ref_id)
        if shape == "box":
            y, x = np.nonzero(mask)
            mask = np.zeros_like(mask)
            mask[y.min() : y.max() + 1, x.min() : x.max() + 1] = True
        np.testing.assert_array_equal(made, mask)


def test_oracle_labels_need_the_truth(tmp_path: Path) -> None:
    index, out = write_index(tmp_path / "index"), tmp_path / "labels.parquet"
    truth = make_truth()
    write_table(index.with_name("truth.parquet"), truth[truth["ref_id"] != 13])
    command = ["oracle-labels", "box", "--out", str(out), "--index", str(index)]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 1
    assert "1 train ref without a true mask (first: ref 13)" in result.output
    assert not out.exists()


def disc(y: int, x: int, radius: int) -> NDArray[np.bool_]:
    rows, columns = np.ogrid[: SIZE[0], : SIZE[1]]
    return np.asarray((rows - y) ** 2 + (columns - x) ** 2 <= radius**2)


@pytest.fixture
def discs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory: an indexed image of a red and a blue disc, and params.yaml."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
    set_param("dataset.root", "pictures")
    index = tmp_path / "data" / "index"
    index.mkdir(parents=True)
    image, rows = np.full((*SIZE, 3), 120, np.uint8), []
    for ref_id, circle in CIRCLES.items():
        mask, (y, x, r) = disc(*circle), circle
        image[mask] = COLOURS[ref_id]
        box = (x - r, y - r, x + r + 1.0, y + r + 1.0)
        rows.append((ref_id, *map(float, box), int(mask.sum()), *SIZE, encode(mask)))
    columns = ["ref_id", "x0", "y0", "x1", "y1", "area", "height", "width", "counts"]
    write_table(index.with_name("truth.parquet"), pd.DataFrame(rows, columns=columns))
    refs = pd.DataFrame({"ref_id": [1, 2], "image_id": 7, "split": "train"})
    write_table(index / "refs.parquet", refs)
    images = {"image_id": [7], "path": ["a.png"], "height": SIZE[0], "width": SIZE[1], "bytes": 1}
    write_table(index / "images.parquet", pd.DataFrame(images))
    (tmp_path / "pictures").mkdir()
    Image.fromarray(image).save(tmp_path / "pictures" / "a.png")
    return tmp_path


def run(*arguments: str) -> str:
    result = CliRunner().invoke(app, ["oracle-labels", *arguments, "--out", "labels.parquet"])
    return f"{result.exit_code}: {result.output}"


def masks() -> list[NDArray[np.bool_]]:
    labels = pd.read_parquet("labels.parquet")
    assert list(labels) == ["ref_id", "height", "width", "counts"]
    assert labels["ref_id"].tolist() == list(CIRCLES)
    return [decode(row.counts, row.height, row.width) for row in labels.itertuples()]


@pytest.mark.usefixtures("discs")
def test_a_crf_finds_the_object_in_its_box() -> None:
    pytest.importorskip("pydensecrf")
    true = [disc(*circle) for circle in CIRCLES.values()]
    assert run("box").startswith("0: labels.parquet: 2 true boxes, filled")
    assert max(map(mask_iou, masks(), true)) < 0.8
    assert run("box", "--refine", "crf").startswith("0: labels.parquet: 2 true boxes, by crf")
    assert min(map(mask_iou, masks(), true)) > 0.95


def test_sam_is_asked_in_the_middle_of_the_box(discs: Path) -> None:
    from tests.support.tiny_sam import write_sam

    assert "refine.sam_weights is null" in run("box", "--refine", "sam")
    write_sam(discs / "sam")
    set_param("refine.sam_weights", "sam")
    assert "labels.parquet: 2 true boxes, by sam, for refine.from" in run("box", "--refine", "sam")
    assert len(masks()) == 2


@pytest.mark.parametrize("found", [True, False])
def test_a_mask_ends_at_its_box_which_stays_if_nothing_is_found(discs: Path, found: bool) -> None:
    box = np.zeros(SIZE, bool)
    box[5:20, 7:30] = True
    row = {"ref_id": [1], "height": SIZE[0], "width": SIZE[1], "path": "a.png"}
    labels = pd.DataFrame({**row, "counts": [encode(box)]})
    made = refine_boxes(
        labels, discs / "pictures", lambda images, maps: [np.full(m.shape, found) for m in maps]
    )
    assert (decode(made["counts"][0], *SIZE) == box).all()


def test_a_box_as_a_map() -> None:
    box = np.zeros((9, 12), bool)
    box[2:7, 3:12] = True
    made = peaked(box)
    assert ((made > EDGE) == box).all()
    assert np.unravel_index(made.argmax(), made.shape) == (4, 7)
    assert made.max() == 1
    np.testing.assert_array_equal(made[2:7, 3:12], made[2:7, 3:12][::-1, ::-1])


@pytest.mark.usefixtures("discs")
def test_what_cannot_be_refined() -> None:
    assert "is for boxes" in run("mask", "--refine", "crf")
    Image.new("RGB", (30, 30)).save("pictures/a.png")
    said = run("box", "--refine", "crf")
    assert "is 30 x 30 pixels, the index says 60 x 80" in said
    Path("pictures/a.png").unlink()
    assert "a.png: not found" in run("box", "--refine", "crf")
    Path("params.yaml").unlink()
    assert "params.yaml: not found" in run("box", "--refine", "crf")
