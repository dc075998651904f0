"""The index: its tables and files, what is dropped or repaired, and unusable images."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from tests.support.tiny_refer import TinyRefer, annotation, ref, square
from tris_core.annotations.index import SCHEMAS, Annotations, build_index, drop_summary, write_index
from tris_core.data import rle
from tris_core.runtime.errors import InputError


def build(tiny: TinyRefer, root: Path, **options: object) -> Annotations:
    return build_index(tiny.write(root), "refcocog", "umd", "refer/refcocog", **options)  # type: ignore[arg-type]


def drops_of(index: Annotations) -> list[tuple[str, int, str]]:
    return [tuple(row.values()) for row in index.drops.to_pylist()]


def test_the_tables_hold_what_was_written(tmp_path: Path) -> None:
    index = build(TinyRefer(), tmp_path)
    folder = tmp_path / "train2014"
    assert index.images.to_pylist() == [
        {
            "image_id": 7,
            "path": "train2014/grey.jpg",
            "height": 50,
            "width": 30,
            "bytes": (folder / "grey.jpg").stat().st_size,
        },
        {
            "image_id": 70,
            "path": "train2014/b.jpg",
            "height": 40,
            "width": 60,
            "bytes": (folder / "b.jpg").stat().st_size,
        },
    ]
    assert [tuple(row.values()) for row in index.refs.to_pylist()] == [
        (10, 70, 1, 3, "square", "train"),
        (11, 70, 2, 3, "square", "train"),
        (12, 7, 3, 3, "square", "val"),
        (13, 70, 4, 3, "square", "testA"),
    ]
    assert [tuple(row.values()) for row in index.expressions.to_pylist()] == [
        (0, 10, "left square"),
        (1, 11, "right one"),
        (2, 11, "two squares"),
        (4, 12, "the only one"),
        (5, 12, "grey thing"),
        (3, 13, "corner"),
    ]
    assert drops_of(index) == []
    assert drop_summary(index) == "nothing"
    truth = index.truth.to_pylist()
    assert [row["ref_id"] for row in truth] == [10, 11, 12, 13]
    assert [row["area"] for row in truth] == [100, 200, 100, 25]
    corners = [truth[2][corner] for corner in ("x0", "y0", "x1", "y1")]
    assert corners == [4.5, 6.0, 14.75, 18.0]
    assert (truth[2]["height"], truth[2]["width"]) == (50, 30)
    expected = np.zeros((40, 60), bool)
    expected[6:16, 20:30] = expected[20:30, 40:50] = True
    np.testing.assert_array_equal(rle.decode(truth[1]["counts"], 40, 60), expected)


def test_files_have_the_schema_and_repeat_to_the_byte(tmp_path: Path) -> None:
    index = build(TinyRefer(), tmp_path / "a")
    shuffled = TinyRefer()
    for rows in (shuffled.images, shuffled.annotations, shuffled.refs):
        rows.reverse()
    write_index(index, tmp_path / "a" / "data" / "index")
    write_index(build(shuffled, tmp_path / "b"), tmp_path / "b" / "data" / "index")
    once, again = (tmp_path / root / "data" for root in ("a", "b"))
    written = sorted(path.relative_to(again) for path in again.rglob("*.parquet"))
    assert [str(path) for path in written] == [
        "drops.parquet",
        "index/expressions.parquet",
        "index/images.parquet",
        "index/refs.parquet",
        "truth.parquet",
    ]
    for path in written:
        assert (once / path).read_bytes() == (again / path).read_bytes()
        table = getattr(index, path.stem)
        assert table.schema.equals(SCHEMAS[path.stem], check_metadata=True)
        assert pd.read_parquet(again / path).to_dict("records") == table.to_pylist()


def test_columns_and_types(tmp_path: Path) -> None:
    index = build(TinyRefer(), tmp_path)
    found = {
        table: " ".join(f"{c.name}:{c.type}" for c in getattr(index, table).schema)
        for table in SCHEMAS
    }
    assert found == {
        "images": "image_id:int64 path:string height:int32 width:int32 bytes:int64",
        "refs": "ref_id:int64 image_id:int64 ann_id:int64 category_id:int64 "
        "category:string split:string",
        "expressions": "expression_id:int64 ref_id:int64 text:string",
        "truth": "ref_id:int64 x0:double y0:double x1:double y1:double "
        "area:int64 height:int32 width:int32 counts:binary",
        "drops": "kind:string id:int64 reason:string",
    }


def test_several_refs_share_one_annotation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny = TinyRefer()
    tiny.refs.append(ref(14, 1, 70, "train", {6: "again"}))
    decoded = []
    original = rle.from_segmentation
    monkeypatch.setattr(
        rle, "from_segmentation", lambda *args: decoded.append(args[0]) or original(*args)
    )
    truth = build(tiny, tmp_path).truth.to_pandas().set_index("ref_id")
    assert truth.loc[14].to_list() == truth.loc[10].to_list()
    assert len(decoded) == 4


def second_polygon(polygon: list[float]) -> Callable[[TinyRefer], object]:
    """Add a polygon to the 10 x 10 square at (20, 6) of annotation 2, which ref 11 uses."""
    return lambda tiny: tiny.annotations[1].update(segmentation=[square(20, 6), polygon])


GONE = [("annotation", 2, "without a mask pixel")]
GONE_SUMMARY = "1 annotation: without a mask pixel"
CLIPPED = ("annotation", 2, "polygon clipped to the image")

# by what is broken: how, the rows of `drops`, the mask area of ref 11, the summary
DIRT: dict[str, tuple[Callable[[TinyRefer], object], list[tuple[str, int, str]], int, str]] = {
    "blank sentence": (
        lambda tiny: tiny.refs[0]["sentences"][1].update(sent=" \t"),
        [("sentence", 4, "empty")],
        200,
        "1 sentence empty",
    ),
    "blank only sentence": (
        lambda tiny: tiny.refs[1]["sentences"][0].update(sent=""),
        [("sentence", 0, "empty"), ("ref", 10, "without sentences")],
        200,
        "1 ref without sentences, 1 sentence empty",
    ),
    "no sentences": (
        lambda tiny: tiny.refs[1].update(sentences=[]),
        [("ref", 10, "without sentences")],
        200,
        "1 ref without sentences",
    ),
    "two points": (
        second_polygon([1, 1, 9, 9]),
        [("annotation", 2, "polygon with fewer than 3 points")],
        100,
        "1 annotation: polygon with fewer than 3 points",
    ),
    "flat polygon": (
        second_polygon([1, 1, 5, 5, 9, 9]),
        [("annotation", 2, "polygon without area")],
        100,
        "1 annotation: polygon without area",
    ),
    "half outside": (
        second_polygon(square(55, 20)),
        [CLIPPED],
        150,
        "1 annotation: polygon clipped to the image",
    ),
    "overlap": (
        second_polygon(square(25, 6)),
        [("annotation", 2, "polygons overlap")],
        100,
        "1 annotation: polygons overlap",
    ),
    "all outside": (
        lambda tiny: tiny.annotations[1].update(segmentation=[square(200, 200)]),
        [CLIPPED, *GONE],
        0,
        f"1 annotation: polygon clipped to the image, {GONE_SUMMARY}",
    ),
    "no polygon": (lambda tiny: tiny.annotations[1].update(segmentation=[]), GONE, 0, GONE_SUMMARY),
}


@pytest.mark.parametrize("dirt", DIRT)
def test_dirt_is_counted_and_what_it_says_is_left_out(tmp_path: Path, dirt: str) -> None:
    break_it, drops, area, summary = DIRT[dirt]
    tiny = TinyRefer()
    break_it(tiny)
    index = build(tiny, tmp_path)
    assert drops_of(index) == drops
    assert drop_summary(index) == summary
    ref_ids = sorted({10, 11, 12, 13} - {row_id for kind, row_id, _ in drops if kind == "ref"})
    assert index.refs["ref_id"].to_pylist() == ref_ids, "no mask decides about a ref"
    measured = [ref_id for ref_id in ref_ids if area or ref_id != 11]
    assert index.truth["ref_id"].to_pylist() == measured
    said = {sentence["sent_id"] for row in tiny.refs for sentence in row["sentences"]}
    kept = said - {row_id for kind, row_id, _ in drops if kind == "sentence"}
    assert sorted(index.expressions["expression_id"].to_pylist()) == sorted(kept)
    areas = dict(zip(measured, index.truth["area"].to_pylist(), strict=True))
    assert areas.get(11, 0) == area


@pytest.mark.parametrize("dirt", DIRT)
def test_strict_stops_at_the_first_dirt(tmp_path: Path, dirt: str) -> None:
    break_it, drops, _, _ = DIRT[dirt]
    tiny = TinyRefer()
    break_it(tiny)
    kind, row_id, reason = drops[0]
    file = "instances.json" if kind == "annotation" else "refs(umd).p"
    path = tmp_path / "refer" / "refcocog" / file
    message = f"{path}: {kind} {row_id}: {reason}; correct it, or turn strict off"
    with pytest.raises(InputError, match=re.escape(message)):
        build(tiny, tmp_path, strict=True)


def test_strict_accepts_clean_data(tmp_path: Path) -> None:
    assert build(TinyRefer(), tmp_path, strict=True).refs.num_rows == 4


def test_overlapping_polygons_leave_a_hole_or_are_united(tmp_path: Path) -> None:
    tiny = TinyRefer()
    second_polygon(square(25, 6))(tiny)
    united = build(tiny, tmp_path, mask_overlap="union")
    expected = np.zeros((40, 60), bool)
    expected[6:16, 20:35] = True
    np.testing.assert_array_equal(rle.decode(united.truth["counts"][1].as_py(), 40, 60), expected)
    assert drop_summary(united) == "1 annotation: polygons overlap"
    holed = build_index(tmp_path, "refcocog", "umd", "refer/refcocog")
    expected[6:16, 25:30] = False
    np.testing.assert_array_equal(rle.decode(holed.truth["counts"][1].as_py(), 40, 60), expected)


def test_a_remark_counts_once_per_annotation(tmp_path: Path) -> None:
    tiny = TinyRefer()
    tiny.annotations[1]["segmentation"] += [[1, 1, 5, 5, 9, 9], [2, 2, 8, 8, 9, 9]]
    tiny.annotations[0]["segmentation"] += [[1, 1, 5, 5, 9, 9]]
    assert drop_summary(build(tiny, tmp_path)) == "2 annotations: polygon without area"


def test_images_of_dropped_refs_are_not_read(tmp_path: Path) -> None:
    tiny = TinyRefer()
    tiny.refs[0]["sentences"] = []
    root = tiny.write(tmp_path)
    (root / "train2014" / "grey.jpg").unlink()
    (root / "train2014" / "unused.jpg").unlink()
    index = build_index(root, "refcocog", "umd", "refer/refcocog")
    assert index.images["image_id"].to_pylist() == [70]


def test_a_missing_image_is_named(tmp_path: Path) -> None:
    root = TinyRefer().write(tmp_path)
    (root / "train2014" / "grey.jpg").unlink()
    with pytest.raises(
        InputError,
        match=r"instances\.json: image 7: image .*train2014/grey\.jpg is missing; put it there or",
    ):
        build_index(root, "refcocog", "umd", "refer/refcocog")


UNREADABLE: dict[str, tuple[bytes | None, str]] = {
    "empty": (b"", r"cannot be read as an image \(.*\); download it again"),
    "web page": (
        b"\n<!DOCTYPE html><p>not found",
        "is a web page; download the picture itself again",
    ),
    "HEIC": (
        b"\0\0\0\x18ftypheic\0\0\0\0mif1heic",
        r"is a HEIC picture, which is not read; convert it to JPEG or PNG \(`magick ",
    ),
    "folder": (None, "is a folder; name a file"),
}


@pytest.mark.parametrize("kind", UNREADABLE)
def test_an_unreadable_image_is_named(tmp_path: Path, kind: str) -> None:
    content, message = UNREADABLE[kind]
    root = TinyRefer().write(tmp_path)
    path = root / "train2014" / "grey.jpg"
    path.unlink()
    if content is None:
        path.mkdir()
    else:
        path.write_bytes(content)
    with pytest.raises(
        InputError, match=rf"instances\.json: image 7: image .*train2014/grey\.jpg {message}"
    ):
        build_index(root, "refcocog", "umd", "refer/refcocog")


def test_an_image_of_another_size_is_named(tmp_path: Path) -> None:
    root = TinyRefer().write(tmp_path)
    Image.new("RGB", (50, 30)).save(root / "train2014" / "grey.jpg")
    found = r"annotated at 30 x 50 \(width x height\), but .*grey\.jpg is 50 x 30; use the image"
    message = rf"instances\.json: image 7: {found}"
    with pytest.raises(InputError, match=message):
        build_index(root, "refcocog", "umd", "refer/refcocog")


@pytest.mark.parametrize(
    "name", ["../b.jpg", "/etc/passwd", "a/../../b.jpg", "..\\b.jpg", "C:\\b.jpg", ""]
)
def test_a_file_name_does_not_leave_the_image_folder(tmp_path: Path, name: str) -> None:
    tiny = TinyRefer()
    root = tiny.write(tmp_path / "data")
    (root / "b.jpg").write_bytes((root / "train2014" / "b.jpg").read_bytes())  # there to be found
    tiny.images[0]["file_name"] = name
    message = re.escape(f"image 70: file name {name!r} leaves the image folder; name a file inside")
    with pytest.raises(InputError, match=rf"instances\.json: {message}"):
        build(tiny, tmp_path / "other")


def test_a_nonsense_segmentation_is_named(tmp_path: Path) -> None:
    tiny = TinyRefer()
    tiny.annotations[2] = annotation(3, 7, {"size": [30, 50], "counts": [1500]})
    found = r"run-length size is \[30, 50\], but .*\[50, 30\].*; correct the segmentation"
    message = rf"instances\.json: annotation 3: {found}"
    with pytest.raises(InputError, match=message):
        build(tiny, tmp_path)
