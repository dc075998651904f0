"""What every reader of annotations hands to `tris_core.annotations.index`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from tris_core.data.image_files import (
    MOST_PIXELS,
    UNREADABLE,
    Header,
    alike,
    inside,
    read_header,
    what_to_do,
)
from tris_core.runtime.errors import InputError

FARTHEST = 1e9  # pixels
Box = tuple[float, float, float, float]


class Annotation(NamedTuple):
    """The truth about one object: `box` x0, y0, x1, y1 in pixels (None: the mask's own); `segmentation` as annotated.

    `where` names its file and row for messages; the segmentation is checked when its mask is made.
    """

    where: str
    image_id: int
    box: Box | None
    segmentation: Any


@dataclass(frozen=True)
class Tables:
    """One data set in one partition, in file order; every id is unique and every reference between the tables holds.

    images      image_id, file_name (relative to `image_root`), height, width (pixels)
    refs        ref_id, image_id, ann_id, category_id, split
    sentences   sent_id, ref_id, sent
    annotations by ann_id; those of refs without truth are absent
    categories  names by category_id, where the annotations have them
    where       file and row of an image, ref, sentence or annotation, by its kind and id, for messages
    remarks     what is worth a look though nothing is wrong, as lines
    """

    image_root: Path
    images: pd.DataFrame
    refs: pd.DataFrame
    sentences: pd.DataFrame
    annotations: Mapping[int, Annotation]
    where: Callable[[str, int], str]
    categories: dict[int, str] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)


def image_header(image_root: Path, file_name: str, where: str) -> Header:
    """Size as displayed and EXIF orientation of an image, from its header.

    Raises `InputError`, which starts with `where`, if the name leaves `image_root` (`tris_core.data.image_files.inside`) or no
    image can be read there.
    """
    try:
        path = inside(image_root, file_name)
    except ValueError as error:
        raise InputError(f"{where}: {error}") from error
    try:
        return read_header(path)
    except FileNotFoundError as error:
        near = alike(path)
        hint = f"did you mean {near!r}? else " if near else ""
        raise InputError(
            f"{where}: image {path} is missing; {hint}put it there or correct dataset.root"
        ) from error
    except UNREADABLE as error:
        raise InputError(f"{where}: image {path} {what_to_do(path, error)}") from error


def image_size(image_root: Path, file_name: str, where: str) -> tuple[int, int]:
    """Height and width of an image as displayed. Raises what `image_header` raises."""
    return image_header(image_root, file_name, where)[:2]


def check_size(height: int, width: int, where: str) -> None:
    """Raises `InputError`, which starts with `where`, for a size that no image has: its mask would fill the memory."""
    if min(height, width) < 0 or height * width > MOST_PIXELS:
        raise InputError(
            f"{where}: annotated at {width} x {height} (width x height), which is no size of an image; correct it"
        )


def storable(value: object) -> bool:
    """Whether an int or str of annotations fits a table's column: 64 bits, no half of a surrogate pair. Other kinds do."""
    if isinstance(value, str):
        return value.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in value)
    return not isinstance(value, int) or -(2**63) <= value < 2**63


def is_coordinate(value: object) -> bool:
    """Whether a value of a box is a number that a pixel may have."""
    return type(value) in (int, float) and abs(value) < FARTHEST  # type: ignore[arg-type]
