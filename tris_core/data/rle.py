"""Masks as COCO's compressed run-length code.

Runs go down the columns, so a mask (H, W) is handed to pycocotools in Fortran order; nobody else has to know.
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
MOST_CHARACTERS = 7  # of one run: 35 bits, more than any image has pixels
MOST_COUNTS = 2**23  # bytes of compressed runs: far more than any mask that somebody drew
FARTHEST = 1e6  # pixels; pycocotools overflows a little further out
LONGEST = 4e6  # pixels of all outlines of one object; pycocotools takes 80 bytes of memory for each


def encode(mask: Mask) -> bytes:
    """Compressed runs of a mask (H, W) bool."""
    return coco.encode(np.asfortranarray(mask, dtype=np.uint8))["counts"]


def decode(counts: bytes, height: int, width: int) -> Mask:
    """The mask (height, width) bool of compressed runs. Raises ValueError if they do not fill that size."""
    check(counts, height, width)
    return coco.decode({"size": [height, width], "counts": counts}).astype(bool)


def check(counts: bytes, height: int, width: int) -> None:
    """Raise ValueError unless compressed runs fill a mask (height, width).

    Where they do not, pycocotools leaves memory unset or writes past its end.
    """
    if len(counts) > MOST_COUNTS:
        raise ValueError(f"{len(counts):,} bytes of run lengths; at most {MOST_COUNTS:,} are read")
    runs = _runs(counts)
    if runs.min(initial=0) < 0 or runs.sum() != height * width:
        raise ValueError(f"run lengths do not add up to {height} x {width} pixels")


def _runs(counts: bytes) -> NDArray[np.int64]:
    """The run lengths; none if a character is not one of the 64, or the last run does not end.

    Five bits a character, the sixth says that more follow, the last one's fifth bit is the sign; from the fourth run on
    they are differences to the run two before.
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
    """Number of pixels of compressed runs, without decoding."""
    return int(coco.area({"size": [height, width], "counts": counts}))


def box(counts: bytes, height: int, width: int) -> tuple[float, float, float, float]:
    """The tightest x0, y0, x1, y1 around the pixels of compressed runs: whole pixel edges."""
    x, y, w, h = coco.toBbox({"size": [height, width], "counts": counts}).tolist()
    return x, y, x + w, y + h


def from_segmentation(
    segmentation: Any, height: int, width: int, overlap: Overlap
) -> tuple[bytes, list[str]]:
    """Compressed runs of a COCO segmentation, and what was amiss with it (the constants above, each at most once).

    `segmentation` is a list of polygons [x0, y0, x1, y1, ...] in pixels, a run-length dict, or a list of such dicts,
    which are united. Where polygons overlap the released code leaves a hole ("drop", D53); "union" fills it. Raises
    ValueError, without naming the record, if it is none of these or its numbers make no sense.
    """
    if isinstance(segmentation, dict):
        return _from_runs(segmentation, height, width), []
    if not isinstance(segmentation, list):
        raise ValueError(
            f"segmentation is a {type(segmentation).__name__}, expected a list of polygons or a dict"
        )
    if segmentation and all(isinstance(part, dict) for part in segmentation):
        parts = [
            {"size": [height, width], "counts": _from_runs(part, height, width)}
            for part in segmentation
        ]
        return coco.merge(parts)["counts"], []
    remarks: list[str] = []
    polygons = [polygon for polygon in segmentation if _usable(polygon, height, width, remarks)]
    if not polygons:
        return _compressed([height * width], height, width), list(dict.fromkeys(remarks))
    if not height * width:
        raise ValueError(
            f"a polygon on an image of {height} x {width} pixels"
        )  # pycocotools would never come back
    if sum(_outline(polygon) for polygon in polygons) > LONGEST:
        raise ValueError(
            f"its polygons have outlines of more than {LONGEST:,.0f} pixels; simplify them"
        )
    merged, overlapping = _merged(polygons, height, width, overlap)
    if overlapping:
        remarks.append(OVERLAPPING)
    return merged, list(dict.fromkeys(remarks))


def _merged(
    polygons: list[list[float]], height: int, width: int, overlap: Overlap
) -> tuple[bytes, bool]:
    """Compressed runs of the pixels in exactly one polygon ("drop") or in any ("union").

    The flag says whether some pixel is in two or more. The runs are counted and no mask is made, so
    that memory grows with the outlines and not with the size of the image.
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
    counts: bytes = coco.frPyObjects({"size": [height, width], "counts": runs}, height, width)[
        "counts"
    ]
    return counts


def _outline(polygon: list[float]) -> float:
    """Pixels along a polygon, each edge measured along its longer side as pycocotools walks it."""
    corners = np.array(polygon, dtype=np.float64).reshape(-1, 2)
    return float(np.abs(corners - np.roll(corners, 1, axis=0)).max(1).sum())


def _usable(polygon: Any, height: int, width: int, remarks: list[str]) -> bool:
    """Whether a polygon encloses anything, noting what is amiss. Raises ValueError if it is no list of coordinates."""
    if (
        not isinstance(polygon, list)
        or len(polygon) % 2
        or not all(_is_coordinate(value) for value in polygon)
    ):
        raise ValueError("a polygon is not a flat list of an even number of coordinates in pixels")
    if len(polygon) < 6:  # pycocotools would take four numbers for a box
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
        raise ValueError(
            f"run-length size is {reprlib.repr(runs.get('size'))}, but the image has [{height}, {width}] (height, width)"
        )
    if isinstance(counts, list):
        if (
            not all(type(count) is int and count >= 0 for count in counts)
            or sum(counts) != height * width
        ):
            raise ValueError(f"run lengths do not add up to {height} x {width} pixels")
        counts = _compressed(counts, height, width)
    if not isinstance(counts, str | bytes):
        raise ValueError(
            f"run-length counts are {type(counts).__name__}, expected a list or a string"
        )
    compressed = counts.encode() if isinstance(counts, str) else counts
    check(compressed, height, width)
    return compressed
