"""Parsing of a list's mask cells: run lengths and their size."""

import json
from pathlib import PurePosixPath
from typing import Any

from tris_core.data.image_files import PICTURES

ENCODED = (
    "write json.dumps of pycocotools.mask.encode(numpy.asfortranarray(mask)), "
    "its counts decoded to text"
)
ABSENT = ("nan", "none", "null", "na", "n/a", "<na>")
HOW = 'write it as {"size": [height, width], "counts": "..."}'


def segmentation_of(mask: Any, height: int | None, width: int | None) -> dict[str, Any]:
    """Parse a mask cell.

    Args:
        mask: JSON text, a dict, or bare run lengths.
        height, width: pixels; the row's columns, if it has them. Bare run lengths need them.

    Returns:
        `size` (height, width) and `counts`. The run lengths are not checked yet.

    Raises:
        ValueError: anything else; the message says what to write.
    """
    if isinstance(mask, bytes):
        mask = mask.decode("latin1")
    if isinstance(mask, str):
        text = mask.strip()
        if text.startswith("["):
            fix = "pycocotools.mask.frPyObjects and merge turn polygons into run lengths"
            raise ValueError(f"looks like polygons, but a list takes run lengths; {fix}")
        if text.lower() in ABSENT:
            raise ValueError("is a word for an empty cell; leave the cell empty")
        if PurePosixPath(text).suffix.lower() in PICTURES:
            raise ValueError(f"is the name of a file, but a list takes run lengths; {ENCODED}")
        if not text.startswith("{"):
            return _bare(text, height, width)
        mask = _parsed(text)
    if not isinstance(mask, dict) or mask.get("counts") is None or mask.get("size") is None:
        raise ValueError(f"has no size and counts; {HOW}")
    size = list(mask["size"]) if isinstance(mask["size"], list) else []
    if len(size) != 2 or not all(type(side) is int and side > 0 for side in size):
        raise ValueError(f"has a size that is not two whole numbers of pixels; {HOW}")
    return {"size": size, "counts": _counts(mask["counts"])}


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        fix = f"{HOW}, made by json.dumps with counts.decode()"
        raise ValueError(f"is not JSON ({error}); {fix}") from error


def _bare(text: str, height: int | None, width: int | None) -> dict[str, Any]:
    counts = _counts(text)
    if height is None or width is None:
        raise ValueError(f"does not say its size; {HOW}, or add the columns height and width")
    return {"size": [height, width], "counts": counts}


def _counts(counts: Any) -> Any:
    if isinstance(counts, bytes):
        return counts.decode("latin1")
    quoted = isinstance(counts, str) and len(counts) > 2 and counts[:2] in ("b'", 'b"')
    if quoted and counts[-1] == counts[1]:
        raise ValueError("is Python's str() of bytes; write counts.decode() instead of str(counts)")
    return counts


def check_same_size(size: list[int], height: int, width: int) -> None:
    """Raise ValueError if a mask's size (height, width) is not that of its picture as displayed."""
    if size == [height, width]:
        return
    masked, displayed = f"{size[1]} x {size[0]}", f"{width} x {height}"
    problem = f"is of {masked} pixels (width x height), the picture as displayed of {displayed}"
    if size == [width, height]:
        fix = "height and width are swapped, in the mask or by turning the picture"
        raise ValueError(f"{problem}; {fix}")
    raise ValueError(f"{problem}; make the mask at the picture's size")
