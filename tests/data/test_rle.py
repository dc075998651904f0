"""Run-length codes, compared with COCO's loop, numpy masks and pycocotools."""

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from pycocotools import mask as coco

from tests.support.tiny_refer import square
from tris_core.data import rle

SIZES = st.tuples(st.integers(1, 17), st.integers(1, 17))
MASKS = arrays.arrays(bool, SIZES)


def column_runs(mask: np.ndarray) -> list[int]:
    """Runs down the columns, starting with background, after COCO's description."""
    runs, value = [0], False
    for pixel in mask.T.ravel():
        if pixel != value:
            runs.append(0)
            value = pixel
        runs[-1] += 1
    return runs


@settings(max_examples=60, deadline=None)
@given(MASKS)
def test_decode_inverts_encode(mask: np.ndarray) -> None:
    counts = rle.encode(mask)
    assert isinstance(counts, bytes)
    decoded = rle.decode(counts, *mask.shape)
    assert decoded.dtype == bool
    np.testing.assert_array_equal(decoded, mask)
    assert rle.area(counts, *mask.shape) == mask.sum()


@settings(max_examples=60, deadline=None)
@given(MASKS)
def test_runs_go_down_the_columns(mask: np.ndarray) -> None:
    segmentation = {"size": list(mask.shape), "counts": column_runs(mask)}
    assert rle.from_segmentation(segmentation, *mask.shape, "drop") == (rle.encode(mask), [])


@settings(max_examples=60, deadline=None)
@given(MASKS, st.data())
def test_runs_that_do_not_fill_the_mask_are_refused(mask: np.ndarray, data: st.DataObject) -> None:
    counts = rle.encode(mask)
    with pytest.raises(
        ValueError, match=f"do not add up to {mask.shape[0] + 1} x {mask.shape[1]} pixels"
    ):
        rle.decode(counts, mask.shape[0] + 1, mask.shape[1])
    shortened = counts[: data.draw(st.integers(0, len(counts) - 1))]
    with pytest.raises(ValueError, match="do not add up"):
        rle.decode(shortened, *mask.shape)


def runs_one_by_one(counts: bytes) -> list[int]:
    """COCO's own loop over the characters."""
    runs: list[int] = []
    value = shift = 0
    for character in counts:
        bits = character - 48
        value |= (bits & 31) << shift
        shift += 5
        if not bits & 32:
            value -= (bits & 16) << (shift - 4)
            runs.append(value + (runs[-2] if len(runs) > 2 else 0))
            value = shift = 0
    return runs


@given(st.lists(st.integers(48, 111), max_size=30).map(bytes))
def test_runs_equal_those_of_coco_s_loop(counts: bytes) -> None:
    ended = bool(counts) and (counts[-1] - 48) & 32 == 0
    longest = max((len(part) for part in re.split(rb"(?<=[0-O])", counts)), default=0)
    expected = runs_one_by_one(counts) if ended and longest <= rle.MOST_CHARACTERS else []
    assert rle._runs(counts).tolist() == expected


@given(st.binary(max_size=12))
def test_any_bytes_are_a_mask_or_refused(counts: bytes) -> None:
    valid = bool(counts) and all(48 <= c < 112 for c in counts) and (counts[-1] - 48) & 32 == 0
    runs = runs_one_by_one(counts) if valid else []
    if min(runs, default=-1) >= 0 and sum(runs) == 35:
        assert rle.decode(counts, 5, 7).sum() == sum(runs[1::2])
    else:
        with pytest.raises(ValueError, match="do not add up to 5 x 7"):
            rle.decode(counts, 5, 7)


@settings(max_examples=60, deadline=None)
@given(
    SIZES.flatmap(lambda size: st.lists(arrays.arrays(bool, size), min_size=1, max_size=4)),
    st.sampled_from(["drop", "union"]),
)
def test_several_runs_are_united(masks: list[np.ndarray], overlap: rle.Overlap) -> None:
    parts = [{"size": list(mask.shape), "counts": rle.encode(mask)} for mask in masks]
    counts, remarks = rle.from_segmentation(parts, *masks[0].shape, overlap)
    np.testing.assert_array_equal(rle.decode(counts, *masks[0].shape), np.any(masks, axis=0))
    assert remarks == []


@settings(max_examples=60, deadline=None)
@given(MASKS.filter(np.any))
def test_the_box_touches_the_outermost_pixels(mask: np.ndarray) -> None:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    assert rle.box(rle.encode(mask), *mask.shape) == (
        columns[0],
        rows[0],
        columns[-1] + 1,
        rows[-1] + 1,
    )


POLYGON = st.lists(
    st.tuples(st.integers(-4, 24), st.integers(-4, 24)), min_size=3, max_size=6, unique=True
)


@settings(max_examples=60, deadline=None)
@given(st.lists(POLYGON, min_size=1, max_size=4))
def test_polygons_are_summed_as_released(corners: list[list[tuple[int, int]]]) -> None:
    height, width = 19, 21
    usable = [
        np.ravel(points).tolist()
        for points in corners
        if np.linalg.matrix_rank(np.subtract(points, points[0])) == 2
    ]
    layers = [
        coco.decode(coco.frPyObjects([polygon], height, width))[:, :, 0].astype(int)
        for polygon in usable
    ]
    total = np.sum(layers, axis=0) if layers else np.zeros((height, width), int)
    for overlap, expected in (("drop", total == 1), ("union", total >= 1)):
        counts, remarks = rle.from_segmentation(
            [np.ravel(p).tolist() for p in corners], height, width, overlap
        )
        assert counts == rle.encode(expected)
        assert (rle.OVERLAPPING in remarks) == (total.max() > 1)
        assert (rle.NO_AREA in remarks) == (len(usable) < len(corners))


def test_a_triangle_covers_the_pixels_with_their_centre_inside() -> None:
    corners = np.array([(30.0, 20.0), (270.0, 90.0), (150.0, 310.0)])
    counts, _ = rle.from_segmentation([corners.ravel().tolist()], 400, 330, "drop")
    y, x = np.mgrid[:400, :330] + 0.5
    sides = zip(corners, np.roll(corners, -1, axis=0), strict=True)
    inside = np.all(
        [(x - a[0]) * (b[1] - a[1]) <= (y - a[1]) * (b[0] - a[0]) for a, b in sides], axis=0
    )
    mask = rle.decode(counts, 400, 330)
    assert (mask & inside).sum() / (mask | inside).sum() > 0.99


def test_a_polygon_outside_is_clipped_with_a_remark() -> None:
    counts, remarks = rle.from_segmentation([[-20, -5, 6, -5, 6, 4, -20, 4]], 12, 30, "drop")
    expected = np.zeros((12, 30), bool)
    expected[:4, :6] = True
    np.testing.assert_array_equal(rle.decode(counts, 12, 30), expected)
    assert remarks == [rle.CLIPPED]
    # the border itself is inside
    assert rle.from_segmentation([[0, 0, 30, 0, 30, 12, 0, 12]], 12, 30, "drop")[1] == []


@pytest.mark.parametrize(
    ("polygon", "remark"),
    [
        ([1, 2, 8, 9], rle.TOO_FEW_POINTS),
        ([], rle.TOO_FEW_POINTS),
        ([1, 1, 5, 5, 9, 9, 3, 3], rle.NO_AREA),
    ],
)
def test_a_polygon_without_area_is_left_out(polygon: list[float], remark: str) -> None:
    counts, remarks = rle.from_segmentation([polygon, square(2, 2)], 20, 20, "drop")
    assert remarks == [remark]
    assert counts == rle.from_segmentation([square(2, 2)], 20, 20, "drop")[0]
    counts, remarks = rle.from_segmentation([polygon, polygon], 20, 20, "drop")
    assert (rle.area(counts, 20, 20), remarks) == (0, [remark])


@pytest.mark.parametrize("as_text", [True, False])
def test_compressed_runs_are_read(as_text: bool) -> None:
    mask = np.random.default_rng(1).random((14, 9)) < 0.4
    counts = rle.encode(mask)
    segmentation = {"size": [14, 9], "counts": counts.decode() if as_text else counts}
    assert rle.from_segmentation(segmentation, 14, 9, "union") == (counts, [])


@pytest.mark.parametrize(
    ("segmentation", "problem"),
    [
        (None, "is a NoneType, expected a list of polygons or a dict"),
        ([{"size": [10, 9], "counts": [90]}, square(1, 1)], "not a flat list of an even number"),
        (square(1, 1), "not a flat list of an even number"),
        ([[1, 2, 3, 4, 5, 6, 7]], "not a flat list of an even number"),
        ([[[1, 2], [3, 4], [5, 1]]], "not a flat list of an even number"),
        ([[1, 2, float("nan"), 4, 5, 6]], "not a flat list of an even number"),
        ([[1, 2, 1e12, 4, 5, 6]], "not a flat list of an even number"),
        ([["a", 2, 3, 4, 5, 6]], "not a flat list of an even number"),
        ([[[1, 2], 3, 4, 5, 6, 7]], "not a flat list of an even number"),
        ({"size": [9, 10], "counts": [90]}, r"size is \[9, 10\], but the image has \[10, 9\]"),
        ({"size": [10, 9], "counts": [80]}, "do not add up to 10 x 9 pixels"),
        ({"size": [10, 9], "counts": [100, -10]}, "do not add up to 10 x 9 pixels"),
        ({"size": [10, 9], "counts": "zzz"}, "do not add up to 10 x 9 pixels"),
        ({"size": [10, 9]}, "counts are NoneType"),
    ],
)
def test_invalid_segmentations_are_refused(segmentation: object, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        rle.from_segmentation(segmentation, 10, 9, "drop")


@pytest.mark.parametrize("number", [1, 2, 255, 256, 257, 600])
def test_any_number_of_polygons_is_merged(number: int) -> None:
    """pycocotools adds masks in 8 bits, which overflow at 256."""
    for overlap, expected in (("drop", 100 if number == 1 else 0), ("union", 100)):
        counts, remarks = rle.from_segmentation([square(2, 2)] * number, 40, 60, overlap)
        assert rle.area(counts, 40, 60) == expected
        assert remarks == ([rle.OVERLAPPING] if number > 1 else [])


def test_outlines_that_would_fill_the_memory_are_refused() -> None:
    with pytest.raises(ValueError, match="outlines of more than 4,000,000 pixels"):
        rle.from_segmentation([[-999_999, 0, 999_999, 0, 0, 5]] * 2, 40, 60, "drop")
    with pytest.raises(ValueError, match="8,388,609 bytes of run lengths"):
        rle.check(b"0" * (rle.MOST_COUNTS + 1), 40, 60)
