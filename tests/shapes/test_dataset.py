import json
import pickle
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tris_core.annotations.index import build_index, drop_summary
from tris_core.data import rle
from tris_core.shapes.dataset import SIZES, _annotation, polygons, write_shapes
from tris_core.shapes.scene import SHAPES, render, sample_scene

SPLITS = {"train": 9, "val": 4, "test": 3}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shapes")
    write_shapes(folder, **SPLITS, seed=5)
    return folder


@pytest.fixture(scope="module")
def instances(folder: Path) -> dict:
    return json.loads((folder / "refer" / "shapes" / "instances.json").read_text())


@pytest.fixture(scope="module")
def refs(folder: Path) -> list[dict]:
    return pickle.loads((folder / "refer" / "shapes" / "refs(demo).p").read_bytes())


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_equal_seeds_give_equal_bytes(folder: Path, tmp_path: Path) -> None:
    write_shapes(tmp_path / "again", **SPLITS, seed=5)
    assert contents(tmp_path / "again") == contents(folder)


def test_different_seeds_give_different_scenes(folder: Path, tmp_path: Path) -> None:
    write_shapes(tmp_path / "other", **SPLITS, seed=6)
    mine, other = contents(folder), contents(tmp_path / "other")
    assert mine.keys() == other.keys()
    assert not any(mine[name] == other[name] for name in mine)


def test_a_scene_depends_only_on_seed_and_number(folder: Path, tmp_path: Path) -> None:
    write_shapes(tmp_path / "few", train=2, val=1, test=0, seed=5)
    for path in (tmp_path / "few" / "images").iterdir():
        assert path.read_bytes() == (folder / "images" / path.name).read_bytes()


def test_rewriting_removes_the_files_of_a_larger_set(tmp_path: Path) -> None:
    write_shapes(tmp_path, train=3, val=0, test=0, seed=1)
    write_shapes(tmp_path, train=1, val=0, test=0, seed=2)
    assert sorted(contents(tmp_path)) == [
        "images/shapes_000001.jpg",
        "refer/shapes/instances.json",
        "refer/shapes/refs(demo).p",
    ]


def test_it_reads_as_a_refer_data_set_without_drops(folder: Path, refs: list[dict]) -> None:
    index = build_index(folder, "shapes", "demo", "refer/shapes", strict=True)
    assert drop_summary(index) == "nothing"
    assert index.refs.num_rows == len(refs)
    assert index.expressions.num_rows == sum(len(ref["sentences"]) for ref in refs)


def test_images_and_annotations_have_coco_layout(folder: Path, instances: dict) -> None:
    assert [row["name"] for row in instances["categories"]] == list(SHAPES)
    assert [row["id"] for row in instances["images"]] == list(range(1, 17))
    for row in instances["images"]:
        assert 184 <= row["width"] <= 216
        assert 168 <= row["height"] <= 200
        with Image.open(folder / "images" / row["file_name"]) as image:
            assert (image.format, image.size) == ("JPEG", (row["width"], row["height"]))
    rows = instances["annotations"]
    assert [row["id"] for row in rows] == list(range(1, len(rows) + 1))
    keys = {"segmentation", "area", "iscrowd", "image_id", "bbox", "category_id", "id"}
    assert all(row.keys() == keys for row in rows)


def test_refs_have_the_keys_of_refer(instances: dict, refs: list[dict]) -> None:
    annotations = {row["id"]: row for row in instances["annotations"]}
    own = {"ref_id", "ann_id", "image_id", "category_id", "split", "file_name"}
    for ref in refs:
        assert ref.keys() == own | {"sent_ids", "sentences"}
        annotation = annotations[ref["ann_id"]]
        assert all(annotation[key] == ref[key] for key in ("image_id", "category_id"))
        assert ref["file_name"] == f"shapes_{ref['image_id']:06d}_{ref['ann_id']}.jpg"


def test_every_ref_has_two_or_three_different_sentences(refs: list[dict]) -> None:
    for ref in refs:
        sentences = ref["sentences"]
        assert 2 <= len(sentences) <= 3
        assert len({sentence["sent"] for sentence in sentences}) == len(sentences)
        assert [sentence["sent_id"] for sentence in sentences] == ref["sent_ids"]
        for sentence in sentences:
            assert sentence.keys() == {"tokens", "raw", "sent_id", "sent"}
            assert sentence["tokens"] == sentence["sent"].split() == sentence["raw"].split()
        named = {word for sentence in sentences for word in sentence["tokens"]} & set(SHAPES)
        assert not named or SHAPES[ref["category_id"] - 1] in named
    sent_ids = [sent_id for ref in refs for sent_id in ref["sent_ids"]]
    assert sent_ids == list(range(len(sent_ids)))


def test_no_image_is_in_two_splits(refs: list[dict]) -> None:
    splits = defaultdict(set)
    for ref in refs:
        splits[ref["image_id"]].add(ref["split"])
    assert all(len(found) == 1 for found in splits.values())
    images = Counter(split for (split,) in splits.values())
    assert all(n <= SPLITS[split] for split, n in images.items())
    assert {i for i, found in splits.items() if found == {"val"}} <= set(range(10, 14))


def test_boxes_and_areas_match_the_masks(instances: dict) -> None:
    sizes = {row["id"]: (row["height"], row["width"]) for row in instances["images"]}
    for row in instances["annotations"]:
        height, width = sizes[row["image_id"]]
        counts, remarks = rle.from_segmentation(row["segmentation"], height, width, "drop")
        assert remarks == []
        mask = rle.decode(counts, height, width)
        ys, xs = np.nonzero(mask)
        x, y, w, h = row["bbox"]
        assert mask.sum() == pytest.approx(row["area"], rel=0.02)
        corners = [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]
        assert np.abs(np.subtract([x, y, x + w, y + h], corners)).max() <= 1


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32), st.integers(2, 5))
def test_polygons_rasterise_to_the_visible_mask(seed: int, n_things: int) -> None:
    scene = sample_scene(np.random.default_rng(seed), 200, 184, n_things, SIZES)
    for mask in render(scene)[1]:
        counts, remarks = rle.from_segmentation(polygons(mask), *mask.shape, "drop")
        again = rle.decode(counts, *mask.shape)
        assert (again & mask).sum() / (again | mask).sum() >= 0.98
        assert remarks in ([], [rle.NO_AREA])


def test_polygons_reach_the_border_and_keep_parts_apart() -> None:
    mask = np.zeros((40, 50), bool)
    mask[:10, :12] = mask[30:, 38:] = True
    found = polygons(mask)
    assert len(found) == 2
    assert rle.from_segmentation(found, 40, 50, "drop") == (rle.encode(mask), [])


def test_specks_are_left_out_of_the_annotation() -> None:
    mask = np.zeros((40, 50), bool)
    mask[5:15, 5:15] = True
    mask[30, 30:37] = True  # 7 pixels
    row = _annotation(3, mask)
    assert (row["area"], len(row["segmentation"])) == (100.0, 1)
    assert row["bbox"] == [5.0, 5.0, 10.0, 10.0]
    mask[31, 30] = True  # 8 pixels
    row = _annotation(3, mask)
    assert (row["area"], len(row["segmentation"])) == (108.0, 2)
