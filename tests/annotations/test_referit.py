"""ReferIt's pickles: read in order, masks united, faults named."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.support.tiny_referit import FOLDER, HEIGHT, WIDTH, Tiny, runs
from tris_core.annotations.index import build_index, drop_summary, write_index
from tris_core.data import rle
from tris_core.data.index import Index
from tris_core.data.truth import Truth
from tris_core.runtime.errors import InputError
from tris_core.step1.negatives import CalibrationNegatives
from tris_core.training.samples import TrainingRefs


def build(tiny: Tiny, root: Path, **options: Any) -> Any:
    return build_index(tiny.write(root), "referit", "none", FOLDER, **options)


def test_every_annotation_is_a_ref_with_one_sentence(tmp_path: Path) -> None:
    index = build(Tiny(), tmp_path, strict=True)
    refs = index.refs.select(["ref_id", "image_id", "ann_id", "split"])
    assert [list(row.values()) for row in refs.to_pylist()] == [
        [0, 40, 0, "train"],
        [1, 40, 1, "train"],
        [2, 7, 2, "train"],
        [3, 7, 2, "test"],  # the region that ref 2 describes
    ]
    assert set(index.refs["category_id"].to_pylist()) == {0}
    assert set(index.refs["category"].to_pylist()) == {None}
    assert index.expressions["text"].to_pylist() == ["left hut", "sky", "the boy", "tree"]
    ids = [index.expressions[column].to_pylist() for column in ("ref_id", "expression_id")]
    assert ids == [[0, 1, 2, 3]] * 2
    assert index.images.select(["image_id", "path", "height", "width"]).to_pylist() == [
        {"image_id": 7, "path": "referit/images/7.jpg", "height": HEIGHT, "width": WIDTH},
        {"image_id": 40, "path": "referit/images/40.jpg", "height": HEIGHT, "width": WIDTH},
    ]


@pytest.mark.parametrize("overlap", ["drop", "union"])
def test_masks_of_one_annotation_are_united_even_where_they_overlap(
    tmp_path: Path, overlap: rle.Overlap
) -> None:
    truth = build(Tiny(), tmp_path, mask_overlap=overlap).truth.to_pylist()[0]
    expected = np.zeros((HEIGHT, WIDTH), bool)
    expected[2:6, 3:9] = expected[4:10, 3:5] = True
    np.testing.assert_array_equal(rle.decode(truth["counts"], HEIGHT, WIDTH), expected)
    box = [truth[corner] for corner in ("x0", "y0", "x1", "y1")]
    assert (truth["area"], box) == (expected.sum(), [1.5, 2, 8, 9.25])


def test_sentences_about_one_region_share_an_object(tmp_path: Path) -> None:
    """Image, boxes and segmentation are equal: refs 0 and 2, and 4 and 5 (of train and test)."""
    tiny = Tiny()
    first = tiny.train["40"]["annotations"][0]
    again = {**first, "query": "the hut", "sen_id": 77}
    elsewhere = {**again, "bbox": [[0, 0, 4, 4]]}
    tiny.train["40"]["annotations"] += [again, elsewhere]
    index = build(tiny, tmp_path, strict=True)
    assert index.refs["ref_id"].to_pylist() == [0, 1, 2, 3, 4, 5]
    assert index.refs["ann_id"].to_pylist() == [0, 1, 0, 3, 4, 4]
    truth = index.truth.to_pandas().set_index("ref_id")
    assert truth.loc[2].to_list() == truth.loc[0].to_list()
    assert truth.loc[3, "x1"] == 4


def test_sentences_about_one_region_are_no_negatives_of_each_other(tmp_path: Path) -> None:
    tiny = Tiny()
    rows = tiny.train["40"]["annotations"]
    rows += [{**rows[0], "query": f"hut {number}"} for number in range(3)]
    index = build(tiny, tmp_path)
    tables = {name: getattr(index, name).to_pandas() for name in ("images", "refs", "expressions")}
    refs = TrainingRefs.from_index(Index.of(**tables), "train")
    huts = np.flatnonzero(refs.object == 0)
    assert len(huts) == 4
    for fill in ("if_none", "up_to_k"):
        negatives = CalibrationNegatives(refs, 6, fill)
        drawn = negatives.draw(huts, refs.start[huts], np.random.default_rng(0))
        said = set(tables["expressions"]["text"][drawn.ravel()])
        assert said == ({"sky"} if fill == "if_none" else {"sky", "the boy"})


def test_all_boxes_are_kept_the_first_in_its_columns(tmp_path: Path) -> None:
    tiny = Tiny()
    tiny.test["7"]["annotations"][0]["bbox"] = [[3, 1, 5, 4], [2, 2, 9, 3.5], [0, 0, 1, 1]]
    index = build(tiny, tmp_path)
    truth = index.truth.to_pylist()
    assert [truth[3][c] for c in ("x0", "y0", "x1", "y1")] == [3, 1, 5, 4]
    more = [row["more_boxes"] for row in truth]
    assert more == [None, None, None, [2, 2, 9, 3.5, 0, 0, 1, 1]]
    write_index(index, tmp_path / "data" / "index")
    found = Truth.open(tmp_path / "data" / "truth.parquet").boxes([3, 0])
    expected = [[3, 1, 5, 4], [2, 2, 9, 3.5], [0, 0, 1, 1]], [[1.5, 2, 8, 9.25]] * 3
    np.testing.assert_array_equal(found, expected)
    assert "more_boxes" not in build(Tiny(), tmp_path / "single").truth.column_names


@pytest.mark.parametrize("empty", [[runs()], []])
def test_a_mask_without_pixels_leaves_out_its_truth_and_nothing_else(
    tmp_path: Path, empty: list[dict[str, Any]]
) -> None:
    tiny = Tiny()
    tiny.train["40"]["annotations"][1]["segmentation"] = empty
    tiny.train["7"]["annotations"][0]["query"] = " "
    index = build(tiny, tmp_path / "a")
    assert index.refs["ref_id"].to_pylist() == [0, 1, 3]
    assert index.truth["ref_id"].to_pylist() == [0, 3]
    assert index.expressions["ref_id"].to_pylist() == [0, 1, 3]
    assert drop_summary(index).split(", ") == [
        "1 annotation: without a mask pixel",
        "1 ref without sentences",
        "1 sentence empty",
    ]
    with pytest.raises(
        InputError, match=r"train\.pickle: image '7', annotation 0 \(sen_id 5\): empty; correct it"
    ):
        build(tiny, tmp_path / "b", strict=True)


def test_an_image_without_masks_has_the_size_of_its_file(tmp_path: Path) -> None:
    tiny = Tiny()
    for annotation in tiny.train["40"]["annotations"]:
        annotation["segmentation"] = []
    index = build(tiny, tmp_path)
    sizes = index.images.select(["image_id", "height", "width"]).to_pylist()
    assert sizes == [{"image_id": i, "height": HEIGHT, "width": WIDTH} for i in (7, 40)]
    assert index.refs["ref_id"].to_pylist() == [0, 1, 2, 3]
    assert index.truth["ref_id"].to_pylist() == [2, 3]


def test_excluding_a_split_removes_its_images_from_training_only(tmp_path: Path) -> None:
    index = build(Tiny(), tmp_path, exclude_images_of=["test"], strict=True)
    assert index.refs["ref_id"].to_pylist() == [0, 1, 3]
    assert index.truth["ref_id"].to_pylist() == index.expressions["ref_id"].to_pylist() == [0, 1, 3]
    assert [tuple(r.values()) for r in index.drops.to_pylist()] == [
        ("ref", 2, "on an image of an excluded split"),
        ("sentence", 2, "of a ref on an image of an excluded split"),
    ]


@pytest.mark.parametrize("split", ["train", "testA"])
def test_excluding_a_missing_split_lists_the_others(tmp_path: Path, split: str) -> None:
    with pytest.raises(
        InputError,
        match=f"exclude_images_of names '{split}'; the other splits of this data set are test$",
    ):
        build(Tiny(), tmp_path, exclude_images_of=[split])


def train(position: int) -> Callable[[Tiny], dict[str, Any]]:
    """Annotation number `position` of image 40."""
    return lambda tiny: tiny.train["40"]["annotations"][position]


def masked(position: int, *parts: object) -> Callable[[Tiny], object]:
    """Replace the segmentation of an annotation of image 40."""
    return lambda tiny: train(position)(tiny).update(segmentation=list(parts))


first = train(0)
FIRST = "train.pickle: image '40', annotation 0 (sen_id 9): "
FAULTS: dict[str, tuple[Callable[[Tiny], object], str]] = {
    "no dict": (
        lambda t: setattr(t, "test", [1]),
        "test.pickle: holds [1], expected a dict of images",
    ),
    "name": (
        lambda t: t.test.update({"07": t.test.pop("7")}),
        "test.pickle: image '07': expected an id of digits",
    ),
    "path": (
        lambda t: t.test.update({"../7": t.test.pop("7")}),
        "test.pickle: image '../7': expected an id of digits",
    ),
    "no list": (
        lambda t: t.train["40"].pop("annotations"),
        "train.pickle: image '40': is {}, expected a dict with a list",
    ),
    "no query": (lambda t: first(t).pop("query"), FIRST + "query is missing, expected str"),
    "other image": (
        lambda t: first(t).update(image_id="7"),
        FIRST + "image_id is '7', but it is listed under '40'",
    ),
    "flat box": (
        lambda t: first(t).update(bbox=[1, 2, 3, 4]),
        FIRST + "bbox is [1, 2, 3, 4], expected a list",
    ),
    "no box": (lambda t: first(t).update(bbox=[]), FIRST + "bbox is [], expected a list of"),
    "polygon": (
        masked(0, [1, 2]),
        FIRST + "segmentation holds [1, 2], expected a dict of size and counts",
    ),
    "runs": (
        masked(0, {"size": [HEIGHT, WIDTH], "counts": b"0"}),
        FIRST + "run lengths do not add up to 12 x 16 pixels; correct",
    ),
    "sizes": (
        masked(1, {"size": [3, 3], "counts": [9]}),
        "annotation 1 (sen_id 3): run-length size is [3, 3], but the image has [12, 16]",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_names_file_row_value_and_fix(tmp_path: Path, fault: str) -> None:
    break_it, message = FAULTS[fault]
    tiny = Tiny()
    break_it(tiny)
    with pytest.raises(InputError, match=re.escape(message)) as raised:
        build(tiny, tmp_path)
    assert str(raised.value).startswith(str(tmp_path / FOLDER))
    assert "; " in str(raised.value)


def test_a_missing_or_resized_image_is_named(tmp_path: Path) -> None:
    root = Tiny().write(tmp_path)
    Image.new("RGB", (WIDTH + 1, HEIGHT)).save(root / "referit/images/7.jpg")
    with pytest.raises(
        InputError, match=r"train\.pickle: image 7: annotated at 16 x 12 .*7\.jpg is 17 x 12"
    ):
        build_index(root, "referit", "none", FOLDER)
    (root / "referit/images/7.jpg").unlink()
    with pytest.raises(InputError, match=r"train\.pickle: image 7: image .*7\.jpg is missing"):
        build_index(root, "referit", "none", FOLDER)


def test_a_folder_without_pickles_names_the_usual_one(tmp_path: Path) -> None:
    message = (
        r"has none of train\.pickle, val\.pickle, test\.pickle; set dataset\.annotations .*, such"
    )
    with pytest.raises(InputError, match=message):
        build_index(tmp_path, "referit", "none", "annotations")
