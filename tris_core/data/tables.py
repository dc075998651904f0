"""What every reader of annotations hands to `tris_core.data.index`."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path, PureWindowsPath
from typing import Any, NamedTuple

import pandas as pd
from PIL import Image

from tris_core.errors import InputError

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
    """

    image_root: Path
    images: pd.DataFrame
    refs: pd.DataFrame
    sentences: pd.DataFrame
    annotations: dict[int, Annotation]
    where: Callable[[str, int], str]
    categories: dict[int, str] = field(default_factory=dict)


def image_size(image_root: Path, file_name: str, where: str) -> tuple[int, int]:
    """Height and width from the file's header; no pixel is decoded.

    Raises `InputError`, which starts with `where`, if the name leaves `image_root` or no image can be read there.
    """
    parsed = PureWindowsPath(file_name)  # knows both kinds of slash, and drives
    if parsed.anchor or ".." in parsed.parts or not parsed.parts:
        raise InputError(f"{where}: file name {file_name!r} leaves the image folder; name a file inside {image_root}")
    path = image_root / file_name
    try:
        with Image.open(path) as image:
            return image.height, image.width
    except FileNotFoundError as error:
        raise InputError(f"{where}: image {path} is missing; put it there or correct dataset.root") from error
    except (OSError, Image.DecompressionBombError) as error:
        raise InputError(f"{where}: image {path} cannot be read ({error}); download it again") from error
