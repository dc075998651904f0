"""Every refiner and every baseline, run through the stages on a tiny data set."""

from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

import stages.crf_seeds
import stages.dump_responses
import stages.refine
import stages.train_irn
import stages.train_step1
from benchmarks._networks import Networks
from stages._artifacts import CLIP
from tests.support.closure import ROOT
from tests.support.in_process import enter, run, write_params
from tests.support.tiny_refer import TinyRefer, dataset_params
from tests.support.tiny_sam import write_sam
from tris_core.baselines import BASELINES
from tris_core.clip.sources import load_clip
from tris_core.clip.tokenizer import Tokenizer
from tris_core.crf.lattice import LatticeCRF
from tris_core.data.images import read_image
from tris_core.data.packed import PackedImages
from tris_core.data.rle import decode
from tris_core.data.transforms import normalise
from tris_core.refinement.params import RefineParams
from tris_core.refinement.refiners import Walk
from tris_core.refinement.sam import load_sam, segment
from tris_core.responses.selected import Selected, SelectedMaps
from tris_core.runtime.params import read_params
from tris_core.runtime.parquet import write_table
from tris_core.weights.clip_spec import ClipPair

SIZE = 64


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working directory with index, packed images, CLIPs, random responses and a PRMS choice."""
    folder = tmp_path_factory.mktemp("refiners")
    TinyRefer().write(folder / "root")
    rng = np.random.default_rng(0)
    maps = [rng.normal(size=36).astype(np.float32) for _ in range(6)]
    pd.DataFrame({"expression_id": range(6), "height": 6, "width": 6, "map": maps}).to_parquet(
        folder / "theirs.parquet"
    )
    with pytest.MonkeyPatch.context() as patch:
        enter(patch, folder)
        settings({"dump_responses": {"from": "theirs.parquet"}})
        for name in ("index", "pack_images", "prepare_clip", "dump_responses"):
            run(import_module(f"stages.{name}"))
        prms = pd.read_parquet("data/responses.parquet", columns=["ref_id", "expression_id"])
        prms["selected"] = ~prms["ref_id"].duplicated()
        write_table(Path("data/prms.parquet"), prms)
    return folder


@pytest.fixture(autouse=True)
def here(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    enter(monkeypatch, place)


def settings(changes: dict[str, dict[str, object]]) -> None:
    write_params({"dataset": dataset_params("root"), "pack_images": {"side": SIZE}, **changes})


def refined(changes: dict[str, object]) -> dict[int, np.ndarray]:
    """Pseudo-labels by ref. The stages between PRMS and `refine` have nothing to do."""
    settings({"refine": changes})
    assert f"no seeds, refine.method is {changes['method']}" in run(stages.crf_seeds)
    assert f"not trained, refine.method is {changes['method']}" in run(stages.train_irn)
    assert f"2 pseudo-labels by {changes['method']}" in run(stages.refine)
    table = pd.read_parquet("data/pseudo_labels.parquet")
    return {row.ref_id: decode(row.counts, row.height, row.width) for row in table.itertuples()}


def selected() -> tuple[np.ndarray, list[int], np.ndarray]:
    """The one training image of the tiny data set, its refs and their maps."""
    images = pd.read_parquet("data/index/images.parquet")
    prms = pd.read_parquet("data/prms.parquet")
    maps = SelectedMaps(Path("data/responses.parquet"), prms, pd.Series([10, 11]), images)
    ((only,),) = list(maps)
    return read_image(Path("root") / only.path), only.ref_ids, only.maps


def test_threshold() -> None:
    labels = refined({"method": "threshold", "threshold": 0.35})
    _, refs, maps = selected()
    assert sorted(labels) == sorted(refs)
    for ref_id, response in zip(refs, maps, strict=True):
        assert 0 < labels[ref_id].mean() < 1
        assert np.array_equal(labels[ref_id], response > 0.35)


CRF = {"gt_prob": 0.6, "iterations": 4, "filters": "lattice"}


def test_crf() -> None:
    labels = refined({"method": "crf", "threshold": 0.35, "crf": CRF})
    image, refs, maps = selected()
    for ref_id, response in zip(refs, maps, strict=True):
        expected = LatticeCRF(image, iterations=4, gt_prob=0.6)(response[None] > 0.35)
        assert np.array_equal(labels[ref_id], expected[0])


def test_sam(place: Path) -> None:
    pytest.importorskip("transformers")
    write_sam(place / "sam")
    labels = refined({"method": "sam", "threshold": 0.35, "sam_weights": "sam"})
    image, refs, maps = selected()
    expected = segment(*load_sam(Path("sam")), image, maps, threshold=0.35)
    for ref_id, mask in zip(refs, expected, strict=True):
        assert np.array_equal(labels[ref_id], mask)


@pytest.mark.parametrize("method", ["dense_clip", "grad_cam"])
def test_baselines_replace_step1(method: str, place: Path) -> None:
    settings({"dump_responses": {"method": method}})
    assert f"not trained, dump_responses.method is {method}" in run(stages.train_step1)
    before = Path("data/responses.parquet").read_bytes()
    try:
        run(stages.dump_responses)
        made = pd.read_parquet("data/responses.parquet").set_index("expression_id")["map"]
    finally:
        Path("data/responses.parquet").write_bytes(before)
    clip = ClipPair.read(CLIP)
    images = pd.read_parquet("data/index/images.parquet")
    refs = pd.read_parquet("data/index/refs.parquet")
    expressions = pd.read_parquet("data/index/expressions.parquet")
    image_of = expressions.merge(refs, on="ref_id")["image_id"]
    packed = PackedImages(
        Path("data/packed.json"), images, Path("root"), place / "scratch", workers=1
    )
    network = BASELINES[method](load_clip(clip.backbone), "demo").eval()
    tokenizer = Tokenizer(clip.backbone.vocabulary)
    for expression, image_id in zip(expressions.itertuples(), image_of, strict=True):
        number = images.index[images["image_id"] == image_id].to_numpy()
        tokens = tokenizer([expression.text], 20)
        with torch.no_grad():
            vis = network.encode_image(normalise(packed[number]))
            response = network.respond_pairs(vis, network.encode_text(tokens))[0]
        assert response.std() > 0
        written, expected = made[expression.expression_id], response.flatten().numpy()
        np.testing.assert_allclose(written, expected, rtol=1e-3, atol=1e-5)


def test_images_of_a_size_share_a_batch_and_keep_their_labels(tmp_path: Path) -> None:
    """On a GPU, up to a number of pixels. On a CPU every image is alone."""
    rng = np.random.default_rng(0)
    visual, irn = Networks("shapes", torch.device("cpu")).irn()
    params = read_params(ROOT / "presets" / "shapes.yaml")[RefineParams]
    walk = Walk(visual, irn.eval(), params, torch.device("cpu"))
    images = []
    for number, (height, width) in enumerate([(40, 48), (40, 48), (48, 40), (40, 48)]):
        pixels = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
        maps = rng.random((2, height, width), dtype=np.float32)
        images.append(Selected(number, f"{number}.png", [2 * number, 2 * number + 1], maps))
    sizes: list[int] = []

    def refiner(read: Any, maps: Any) -> Any:
        sizes.append(len(read))
        return walk(read, maps)

    alone = stages.refine.RefineImages(refiner, tmp_path, 0)(images)
    assert sizes == [1, 1, 1, 1]
    together = stages.refine.RefineImages(refiner, tmp_path, 2 * 40 * 48)(images)
    assert sorted(sizes[4:]) == [1, 1, 2]
    assert [label[0] for label in sorted(together)] == list(range(8))
    assert sorted(together) == sorted(alone)
