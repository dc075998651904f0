"""The tables that every reader of annotations returns to `tris_core.annotations.index`."""

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

FARTHEST = 1e9  # pixels; largest coordinate of a box
Box = tuple[float, float, float, float]


class Annotation(NamedTuple):
    """The ground truth of one object.

    Attributes:
        where: its file and row, for messages.
        image_id: its image.
        boxes: each x0, y0, x1, y1 in pixels; none for the mask's own, several in ReferIt.
        segmentation: as annotated; checked when its mask is made.
    """

    where: str
    image_id: int
    boxes: tuple[Box, ...]
    segmentation: Any


@dataclass(frozen=True)
class Tables:
    """One data set in one partition, in file order.

    Ids are unique, and every reference between the tables is valid.

    image_root  folder of the images
    images      image_id, file_name (relative to `image_root`), height, width (pixels)
    refs        ref_id, image_id, ann_id, category_id, split
    sentences   sent_id, ref_id, sent
    annotations by ann_id; refs without ground truth have none
    where       (kind, id) to file and row of an image, ref, sentence or annotation, for messages
    categories  names by category_id, if the data set has them
    remarks     lines about what is odd but not wrong
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
    """Read an image's size as displayed and its EXIF orientation from its header.

    Raises:
        InputError: `file_name` leaves `image_root` (`tris_core.data.image_files.inside`), or is not
            a readable image. The message starts with `where`.
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
        fix = f"{hint}put it there or correct dataset.root"
        raise InputError(f"{where}: image {path} is missing; {fix}") from error
    except UNREADABLE as error:
        raise InputError(f"{where}: image {path} {what_to_do(path, error)}") from error


def image_size(image_root: Path, file_name: str, where: str) -> tuple[int, int]:
    """Height and width of an image as displayed. Raises what `image_header` raises."""
    return image_header(image_root, file_name, where)[:2]


def check_size(height: int, width: int, where: str) -> None:
    """Check an annotated size, since a mask of an absurd one would fill the memory.

    Raises `InputError`, which starts with `where`, if no image can have it.
    """
    if min(height, width) < 0 or height * width > MOST_PIXELS:
        size = f"{width} x {height} (width x height)"
        raise InputError(f"{where}: annotated at {size}, which no image can have; correct it")


def storable(value: object) -> bool:
    """Whether a value of annotations fits a table's column.

    An int needs 64 bits, and a str no half of a surrogate pair. All other types fit.
    """
    if isinstance(value, str):
        return value.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in value)
    return not isinstance(value, int) or -(2**63) <= value < 2**63


def is_coordinate(value: object) -> bool:
    """Whether a value of a box is a number that a pixel's position can be."""
    return type(value) in (int, float) and abs(value) < FARTHEST  # type: ignore[arg-type]
