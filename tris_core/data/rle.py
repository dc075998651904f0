"""Masks as COCO's compressed run-length code.

Runs go down the columns, so masks (H, W) are passed to pycocotools in Fortran order.
"""

import reprlib
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco

Mask = NDArray[np.bool_]
Overlap = Literal["drop", "union"]

TOO_FEW_POINTS = "polygon with fewer than 3 points"
NO_AREA = "polygon without area"
CLIPPED = "polygon clipped to the image"
OVERLAPPING = "polygons overlap"

NO_RUNS = np.zeros(0, np.int64)
MOST_CHARACTERS = 7  # per run: 35 bits, more than any image has pixels
MOST_COUNTS = 2**23  # bytes of compressed runs, far more than any drawn mask has
FARTHEST = 1e6  # pixels; pycocotools overflows a little further out
LONGEST = 4e6  # pixels of all outlines of one object; pycocotools takes 80 bytes for each


def encode(mask: Mask) -> bytes:
    """Compress a mask (H, W) bool."""
    return coco.encode(np.asfortranarray(mask, dtype=np.uint8))["counts"]


def decode(counts: bytes, height: int, width: int) -> Mask:
    """Decompress a mask (height, width) bool. Raises ValueError if the runs do not fill it."""
    check(counts, height, width)
    return coco.decode({"size": [height, width], "counts": counts}).astype(bool)


def check(counts: bytes, height: int, width: int) -> None:
    """Raise ValueError unless compressed runs fill a mask (height, width).

    Otherwise pycocotools would leave memory uninitialised or write past its end.
    """
    if len(counts) > MOST_COUNTS:
        raise ValueError(f"{len(counts):,} bytes of run lengths; at most {MOST_COUNTS:,} are read")
    runs = _runs(counts)
    if runs.min(initial=0) < 0 or runs.sum() != height * width:
        raise ValueError(f"run lengths do not add up to {height} x {width} pixels")


def _runs(counts: bytes) -> NDArray[np.int64]:
    """Decode run lengths; empty if a character is invalid or the last run does not end.

    A character has five bits of a value, least significant first, and a sixth that says that more
    follow. The fifth bit of a value's last character is its sign. From the fourth run on, values
    are differences to the run two before.
    """
    bits = np.frombuffer(counts, np.uint8).astype(np.int64) - 48
    stops = np.flatnonzero((bits & 32) == 0)
    if bits.min(initial=0) < 0 or bits.max(initial=0) > 63 or len(bits) == 0 or bits[-1] & 32:
        return NO_RUNS
    starts = np.concatenate([[0], stops[:-1] + 1])
    length = stops - starts + 1
    if length.max() > MOST_CHARACTERS:
        return NO_RUNS
    shift = 5 * (np.arange(len(bits)) - np.repeat(starts, length))
    runs = np.add.reduceat((bits & 31) << shift, starts)
    runs -= np.where(bits[stops] & 16, np.int64(1) << (5 * length), 0)
    runs[1::2] = runs[1::2].cumsum()
    runs[2::2] = runs[2::2].cumsum()
    return runs


def area(counts: bytes, height: int, width: int) -> int:
    """Number of pixels of compressed runs, without decoding them."""
    return int(coco.area({"size": [height, width], "counts": counts}))


def box(counts: bytes, height: int, width: int) -> tuple[float, float, float, float]:
    """The tightest box x0, y0, x1, y1 around the pixels, at pixel edges."""
    x, y, w, h = coco.toBbox({"size": [height, width], "counts": counts}).tolist()
    return x, y, x + w, y + h


def from_segmentation(
    segmentation: Any, height: int, width: int, overlap: Overlap
) -> tuple[bytes, list[str]]:
    """Compress a COCO segmentation.

    Args:
        segmentation: a list of polygons [x0, y0, x1, y1, ...] in pixels, a run-length dict, or a
            list of such dicts, which are united.
        height, width: size of the image in pixels.
        overlap: where polygons overlap, "drop" leaves a hole, as released, and "union" fills it
            (docs/paper_vs_code.md#masks).

    Returns:
        The compressed runs, and remarks on what was repaired (the constants above, each once).

    Raises:
        ValueError: the segmentation is none of these, or its numbers are invalid. The message does
            not name the record.
    """
    if isinstance(segmentation, dict):
        return _from_runs(segmentation, height, width), []
    if not isinstance(segmentation, list):
        found = type(segmentation).__name__
        raise ValueError(f"segmentation is a {found}, expected a list of polygons or a dict")
    if segmentation and all(isinstance(part, dict) for part in segmentation):
        runs = [_from_runs(part, height, width) for part in segmentation]
        parts = [{"size": [height, width], "counts": counts} for counts in runs]
        return coco.merge(parts)["counts"], []
    remarks: list[str] = []
    polygons = [polygon for polygon in segmentation if _usable(polygon, height, width, remarks)]
    if not polygons:
        return _compressed([height * width], height, width), list(dict.fromkeys(remarks))
    if not height * width:
        # pycocotools would never return
        raise ValueError(f"a polygon on an image of {height} x {width} pixels")
    if sum(_outline(polygon) for polygon in polygons) > LONGEST:
        problem = f"its polygons have outlines of more than {LONGEST:,.0f} pixels"
        raise ValueError(f"{problem}; simplify them")
    merged, overlapping = _merged(polygons, height, width, overlap)
    if overlapping:
        remarks.append(OVERLAPPING)
    return merged, list(dict.fromkeys(remarks))


def _merged(
    polygons: list[list[float]], height: int, width: int, overlap: Overlap
) -> tuple[bytes, bool]:
    """Compress the pixels in exactly one polygon ("drop") or in any ("union").

    Returns the runs, and whether any pixel is in two or more polygons. Runs are counted without
    making a mask, so memory grows with the outlines and not with the size of the image.
    """
    one_by_one = (coco.frPyObjects([polygon], height, width)[0]["counts"] for polygon in polygons)
    if len(polygons) == 1:
        return next(one_by_one), False
    edges = [_runs(counts).cumsum()[:-1] for counts in one_by_one]  # enters, leaves, enters, ...
    position = np.concatenate(edges)
    change = np.concatenate([np.where(np.arange(len(e)) % 2, -1, 1) for e in edges])
    order = np.argsort(position, kind="stable")
    position, depth = position[order], change[order].cumsum()
    last = np.diff(position, append=-1) != 0  # of several changes at one pixel
    position, depth = position[last], depth[last]
    filled = depth == 1 if overlap == "drop" else depth > 0
    turns = position[np.diff(filled, prepend=False)]
    ends = np.append(turns[turns < height * width], height * width)
    merged = _compressed(np.diff(ends, prepend=0).tolist(), height, width)
    return merged, bool((depth > 1).any())


def _compressed(runs: list[int], height: int, width: int) -> bytes:
    made = coco.frPyObjects({"size": [height, width], "counts": runs}, height, width)
    counts: bytes = made["counts"]
    return counts


def _outline(polygon: list[float]) -> float:
    """Length of a polygon in pixels. pycocotools walks each edge along its longer side."""
    corners = np.array(polygon, dtype=np.float64).reshape(-1, 2)
    return float(np.abs(corners - np.roll(corners, 1, axis=0)).max(1).sum())


def _usable(polygon: Any, height: int, width: int, remarks: list[str]) -> bool:
    """Whether a polygon encloses anything. Adds remarks on what is wrong with it.

    Raises ValueError if it is not a list of coordinates.
    """
    is_flat = isinstance(polygon, list) and len(polygon) % 2 == 0
    if not is_flat or not all(_is_coordinate(value) for value in polygon):
        raise ValueError("a polygon is not a flat list of an even number of coordinates in pixels")
    if len(polygon) < 6:  # pycocotools would read four numbers as a box
        remarks.append(TOO_FEW_POINTS)
        return False
    corners = np.array(polygon, dtype=np.float64).reshape(-1, 2)
    if np.linalg.matrix_rank(corners - corners[0], tol=1e-6) < 2:
        remarks.append(NO_AREA)
        return False
    if corners.min() < 0 or np.any(corners > (width, height)):
        remarks.append(CLIPPED)
    return True


def _is_coordinate(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) < FARTHEST


def _from_runs(runs: dict[str, Any], height: int, width: int) -> bytes:
    counts = runs.get("counts")
    if runs.get("size") != [height, width]:
        found = f"run-length size is {reprlib.repr(runs.get('size'))}"
        raise ValueError(f"{found}, but the image has [{height}, {width}] (height, width)")
    if isinstance(counts, list):
        valid = all(type(count) is int and count >= 0 for count in counts)
        if not valid or sum(counts) != height * width:
            raise ValueError(f"run lengths do not add up to {height} x {width} pixels")
        counts = _compressed(counts, height, width)
    if not isinstance(counts, str | bytes):
        found = type(counts).__name__
        raise ValueError(f"run-length counts are {found}, expected a list or a string")
    compressed = counts.encode() if isinstance(counts, str) else counts
    check(compressed, height, width)
    return compressed
