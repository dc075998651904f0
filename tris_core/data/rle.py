"""Masks as COCO's compressed run-length code.

Runs go down the columns, so a mask (H, W) is handed to pycocotools in Fortran order; nobody else has to know.
"""

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

FARTHEST = 1e6  # pixels; pycocotools walks along every edge in memory, and overflows a little further out


def encode(mask: Mask) -> bytes:
    """Compressed runs of a mask (H, W) bool."""
    return coco.encode(np.asfortranarray(mask, dtype=np.uint8))["counts"]


def decode(counts: bytes, height: int, width: int) -> Mask:
    """The mask (height, width) bool of compressed runs. Raises ValueError if they do not fill that size."""
    runs = _runs(counts)
    if min(runs, default=0) < 0 or sum(runs) != height * width:
        raise ValueError(f"run lengths do not add up to {height} x {width} pixels")
    return coco.decode({"size": [height, width], "counts": counts}).astype(bool)


def _runs(counts: bytes) -> list[int]:
    """The run lengths. pycocotools reads them too, but leaves memory unset where they end early.

    Five bits a character, the sixth says that more follow, the last one's fifth bit is the sign; from the fourth run on
    they are differences to the run two before.
    """
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


def area(counts: bytes, height: int, width: int) -> int:
    """Number of pixels of compressed runs, without decoding."""
    return int(coco.area({"size": [height, width], "counts": counts}))


def from_segmentation(segmentation: Any, height: int, width: int, overlap: Overlap) -> tuple[bytes, list[str]]:
    """Compressed runs of a COCO segmentation, and what was amiss with it (the constants above, each at most once).

    `segmentation` is a list of polygons [x0, y0, x1, y1, ...] in pixels or a run-length dict. Where polygons overlap
    the released code leaves a hole ("drop", D53); "union" fills it. Raises ValueError, without naming the record, if
    it is neither or its numbers make no sense.
    """
    if isinstance(segmentation, dict):
        return _from_runs(segmentation, height, width), []
    if not isinstance(segmentation, list):
        raise ValueError(f"segmentation is a {type(segmentation).__name__}, expected a list of polygons or a dict")
    remarks: list[str] = []
    polygons = [polygon for polygon in segmentation if _usable(polygon, height, width, remarks)]
    if not polygons:
        return encode(np.zeros((height, width), bool)), list(dict.fromkeys(remarks))
    parts = coco.frPyObjects(polygons, height, width)
    whole = coco.merge(parts)
    if int(np.sum(coco.area(parts))) > int(coco.area(whole)):
        remarks.append(OVERLAPPING)
        if overlap == "drop":
            return encode(coco.decode(parts).sum(axis=2, dtype=np.int32) == 1), list(dict.fromkeys(remarks))
    return whole["counts"], list(dict.fromkeys(remarks))


def _usable(polygon: Any, height: int, width: int, remarks: list[str]) -> bool:
    """Whether a polygon encloses anything, noting what is amiss. Raises ValueError if it is no list of coordinates."""
    if not isinstance(polygon, list) or len(polygon) % 2 or not all(_is_coordinate(value) for value in polygon):
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
        raise ValueError(f"run-length size is {runs.get('size')}, but the image has [{height}, {width}] (height, width)")
    if isinstance(counts, list):
        if not all(type(count) is int and count >= 0 for count in counts) or sum(counts) != height * width:
            raise ValueError(f"run lengths do not add up to {height} x {width} pixels")
        counts = coco.frPyObjects(runs, height, width)["counts"]
    if not isinstance(counts, str | bytes):
        raise ValueError(f"run-length counts are {type(counts).__name__}, expected a list or a string")
    return encode(decode(counts.encode() if isinstance(counts, str) else counts, height, width))
