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


def test_equal_seeds_give_equal_bytes_and_others_other_scenes(folder: Path, tmp_path: Path) -> None:
    write_shapes(tmp_path / "again", **SPLITS, seed=5)
    assert contents(tmp_path / "again") == contents(folder)
    write_shapes(tmp_path / "other", **SPLITS, seed=6)
    mine, other = contents(folder), contents(tmp_path / "other")
    assert mine.keys() == other.keys()
    assert not any(mine[name] == other[name] for name in mine)


def test_a_scene_depends_on_its_number_alone(folder: Path, tmp_path: Path) -> None:
    write_shapes(tmp_path / "few", train=2, val=1, test=0, seed=5)
    for path in (tmp_path / "few" / "images").iterdir():
        assert path.read_bytes() == (folder / "images" / path.name).read_bytes()


def test_writing_again_leaves_nothing_of_a_larger_set(tmp_path: Path) -> None:
    write_shapes(tmp_path, train=3, val=0, test=0, seed=1)
    write_shapes(tmp_path, train=1, val=0, test=0, seed=2)
    assert sorted(contents(tmp_path)) == [
        "images/shapes_000001.jpg",
        "refer/shapes/instances.json",
        "refer/shapes/refs(demo).p",
    ]


def test_it_reads_as_a_refer_data_set_without_any_dirt(folder: Path, refs: list[dict]) -> None:
    index = build_index(folder, "shapes", "demo", "refer/shapes", strict=True)
    assert drop_summary(index) == "nothing"
    assert index.refs.num_rows == len(refs)
    assert index.expressions.num_rows == sum(len(ref["sentences"]) for ref in refs)


def test_images_and_annotations_have_cocos_layout(folder: Path, instances: dict) -> None:
    assert [row["name"] for row in instances["categories"]] == list(SHAPES)
    assert [row["id"] for row in instances["images"]] == list(range(1, 17))
    for row in instances["images"]:
        assert 184 <= row["width"] <= 216
        assert 168 <= row["height"] <= 200
        with Image.open(folder / "images" / row["file_name"]) as image:
            assert (image.format, image.size) == ("JPEG", (row["width"], row["height"]))
    assert [row["id"] for row in instances["annotations"]] == list(
        range(1, len(instances["annotations"]) + 1)
    )
    for row in instances["annotations"]:
        assert row.keys() == {
            "segmentation",
            "area",
            "iscrowd",
            "image_id",
            "bbox",
            "category_id",
            "id",
        }


def test_refs_have_refers_keys_and_at_least_two_sentences(
    instances: dict, refs: list[dict]
) -> None:
    annotations = {row["id"]: row for row in instances["annotations"]}
    keys = {
        "sent_ids",
        "file_name",
        "ann_id",
        "ref_id",
        "image_id",
        "split",
        "sentences",
        "category_id",
    }
    for ref in refs:
        assert ref.keys() == keys
        annotation = annotations[ref["ann_id"]]
        assert (annotation["image_id"], annotation["category_id"]) == (
            ref["image_id"],
            ref["category_id"],
        )
        assert ref["file_name"] == f"shapes_{ref['image_id']:06d}_{ref['ann_id']}.jpg"
        assert 2 <= len(ref["sentences"]) <= 3
        assert [sentence["sent_id"] for sentence in ref["sentences"]] == ref["sent_ids"]
        assert len({sentence["sent"] for sentence in ref["sentences"]}) == len(ref["sentences"])
        for sentence in ref["sentences"]:
            assert sentence.keys() == {"tokens", "raw", "sent_id", "sent"}
            assert sentence["tokens"] == sentence["sent"].split() == sentence["raw"].split()
        named = {word for sentence in ref["sentences"] for word in sentence["tokens"]} & set(SHAPES)
        assert not named or SHAPES[ref["category_id"] - 1] in named
    sent_ids = [sent_id for ref in refs for sent_id in ref["sent_ids"]]
    assert sent_ids == list(range(len(sent_ids)))


def test_no_image_is_in_two_splits(refs: list[dict]) -> None:
    splits = defaultdict(set)
    for ref in refs:
        splits[ref["image_id"]].add(ref["split"])
    assert all(len(found) == 1 for found in splits.values())
    assert {
        split: n for split, n in Counter(s for (s,) in splits.values()).items() if n > SPLITS[split]
    } == {}
    assert {image_id for image_id, found in splits.items() if found == {"val"}} <= set(
        range(10, 14)
    )


def test_boxes_and_areas_are_those_of_the_masks(instances: dict) -> None:
    sizes = {row["id"]: (row["height"], row["width"]) for row in instances["images"]}
    for row in instances["annotations"]:
        height, width = sizes[row["image_id"]]
        counts, remarks = rle.from_segmentation(row["segmentation"], height, width, "drop")
        assert remarks == []
        mask = rle.decode(counts, height, width)
        ys, xs = np.nonzero(mask)
        x, y, w, h = row["bbox"]
        assert mask.sum() == pytest.approx(row["area"], rel=0.02)
        assert (
            np.abs(
                np.subtract([x, y, x + w, y + h], [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1])
            ).max()
            <= 1
        )


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32), st.integers(2, 5))
def test_polygons_rasterise_to_the_visible_mask(seed: int, n_things: int) -> None:
    scene = sample_scene(np.random.default_rng(seed), 200, 184, n_things, SIZES)
    for mask in render(scene)[1]:
        counts, remarks = rle.from_segmentation(polygons(mask), *mask.shape, "drop")
        again = rle.decode(counts, *mask.shape)
        assert (again & mask).sum() / (again | mask).sum() >= 0.98
        assert remarks in ([], [rle.NO_AREA])


def test_polygons_reach_the_border_and_keep_the_parts_apart() -> None:
    mask = np.zeros((40, 50), bool)
    mask[:10, :12] = mask[30:, 38:] = True
    found = polygons(mask)
    assert len(found) == 2
    assert rle.from_segmentation(found, 40, 50, "drop") == (rle.encode(mask), [])


def test_a_speck_is_no_part_of_an_annotation() -> None:
    mask = np.zeros((40, 50), bool)
    mask[5:15, 5:15] = True
    mask[30, 30:37] = True  # 7 pixels
    row = _annotation(3, mask)
    assert (row["area"], row["bbox"], len(row["segmentation"])) == (
        100.0,
        [5.0, 5.0, 10.0, 10.0],
        1,
    )
    mask[31, 30] = True  # 8
    row = _annotation(3, mask)
    assert (row["area"], len(row["segmentation"])) == (108.0, 2)
