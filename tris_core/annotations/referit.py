"""Reads ReferIt, as the released code does, into checked tables.

    <annotations>/{train,val,test}.pickle   image id -> {"annotations": [annotation, ...]}
    <root>/referit/images/<image id>.jpg

An annotation is a dict of image_id, query, bbox, segmentation and sen_id. It becomes a ref with one
sentence, as released. Both have the same id, a running number over the files in the order above;
`sen_id` appears only in messages. Annotations of an image with equal bbox and segmentation are
sentences about one region: their refs share an `ann_id`, which is the id of the first
(docs/paper_vs_code.md#objects).

`bbox` is a list of boxes [x0, y0, x1, y1] in pixels, all of which are kept. `segmentation` is a
list of run-length dicts; several are united, as released (docs/paper_vs_code.md#masks).
"""

import reprlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from tris_core.annotations.layout import IMAGE_FOLDERS
from tris_core.annotations.tables import Annotation, Box, Tables, is_coordinate, storable
from tris_core.runtime.errors import InputError
from tris_core.runtime.pickles import load_plain_pickle

SPLITS = ("train", "val", "test")
REPAIR = "correct the record or download the file again"


def read_referit(root: Path, annotations: str) -> Tables:
    """Read those pickles of `SPLITS` that exist in the folder `annotations` under `root`.

    The size of an image is that of its run lengths; 0 x 0, for the file's own, without any.

    Raises:
        InputError: there is no pickle, or one is damaged, would run code or has a record that is
            not as described above.
    """
    folder = root / annotations
    paths = {split: folder / f"{split}.pickle" for split in SPLITS}
    paths = {split: path for split, path in paths.items() if path.exists()}
    if not paths:
        names = ", ".join(f"{split}.pickle" for split in SPLITS)
        fix = f"set dataset.annotations to their folder under dataset.root ({root})"
        raise InputError(f"{folder}: has none of {names}; {fix}, such as referit/annotations")
    used: dict[int, Annotation] = {}
    regions: dict[tuple[int, str], int] = {}  # image, boxes and segmentation to ann_id
    refs: list[tuple[int, int, int, int, str]] = []
    texts, wheres = [], []
    images: dict[int, str] = {}
    sizes: dict[int, tuple[int, int]] = {}
    for split, path in paths.items():
        for where, image_id, row in _rows(path):
            boxes, ref_id = _boxes(row["bbox"], where), len(refs)
            region = image_id, repr((row["bbox"], row["segmentation"]))
            ann_id = regions.setdefault(region, ref_id)
            used.setdefault(ann_id, Annotation(where, image_id, boxes, row["segmentation"]))
            refs.append((ref_id, image_id, ann_id, 0, split))
            texts.append(row["query"])
            wheres.append(where)
            images.setdefault(image_id, f"{path}: image {image_id}")
            for part in row["segmentation"]:
                sizes.setdefault(image_id, _size(part, where))
    ids = range(len(refs))
    named = [(image_id, f"{image_id}.jpg", *sizes.get(image_id, (0, 0))) for image_id in images]
    return Tables(
        root / IMAGE_FOLDERS["referit"],
        pd.DataFrame(named, columns=["image_id", "file_name", "height", "width"]),
        pd.DataFrame(refs, columns=["ref_id", "image_id", "ann_id", "category_id", "split"]),
        pd.DataFrame({"sent_id": ids, "ref_id": ids, "sent": texts}),
        used,
        lambda kind, row_id: images[row_id] if kind == "image" else wheres[row_id],
    )


def _rows(path: Path) -> Iterator[tuple[str, int, dict[str, Any]]]:
    """Every annotation: its location for messages, its image's id and its record."""
    content = load_plain_pickle(path)
    if not isinstance(content, dict) or not content:
        problem = f"holds {reprlib.repr(content)}, expected a dict of images"
        raise InputError(f"{path}: {problem}; download the file again")
    for name, image in content.items():
        where = f"{path}: image {name!r}"
        if not _is_id(name):
            raise InputError(f"{where}: expected an id of digits, as in the file's name; {REPAIR}")
        if not isinstance(image, dict) or not isinstance(image.get("annotations"), list):
            problem = f"is {reprlib.repr(image)}, expected a dict with a list 'annotations'"
            raise InputError(f"{where}: {problem}; {REPAIR}")
        for position, row in enumerate(image["annotations"]):
            yield _checked(row, name, f"{where}, annotation {position}"), int(name), row


def _is_id(name: object) -> bool:
    digits = isinstance(name, str) and name.isascii() and name.isdigit()
    return digits and str(int(str(name))) == name


def _checked(row: Any, image: str, where: str) -> str:
    """The location of an annotation for messages. Raises `InputError` if it is malformed."""
    if not isinstance(row, dict):
        raise InputError(f"{where}: is {reprlib.repr(row)}, expected a dict; {REPAIR}")
    where += f" (sen_id {reprlib.repr(row.get('sen_id'))})"
    for key, kind in {"query": str, "bbox": list, "segmentation": list}.items():
        if not isinstance(row.get(key), kind) or not storable(row[key]):
            value = reprlib.repr(row[key]) if key in row else "missing"
            raise InputError(f"{where}: {key} is {value}, expected {kind.__name__}; {REPAIR}")
    if row.get("image_id") != image:
        problem = (
            f"image_id is {reprlib.repr(row.get('image_id'))}, but it is listed under {image!r}"
        )
        raise InputError(f"{where}: {problem}; {REPAIR}")
    return where


def _size(runs: Any, where: str) -> tuple[int, int]:
    """Height and width of a run-length dict."""
    size: Any = runs.get("size") if isinstance(runs, dict) else None
    is_pair = isinstance(size, list) and len(size) == 2
    if not is_pair or not all(type(side) is int and side > 0 for side in size):
        problem = f"segmentation holds {reprlib.repr(runs)}, expected a dict of size and counts"
        raise InputError(f"{where}: {problem}; {REPAIR}")
    return size[0], size[1]


def _boxes(boxes: list[Any], where: str) -> tuple[Box, ...]:
    good = [b for b in boxes if isinstance(b, list) and len(b) == 4 and all(map(is_coordinate, b))]
    if not boxes or len(good) < len(boxes):
        problem = f"bbox is {reprlib.repr(boxes)}, expected a list of [x0, y0, x1, y1] in pixels"
        raise InputError(f"{where}: {problem}; {REPAIR}")
    return tuple((x0, y0, x1, y1) for x0, y0, x1, y1 in good)
