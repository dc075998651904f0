"""ReferIt as the released code reads it, as checked tables.

    <annotations>/{train,val,test}.pickle   image id -> {"annotations": [{image_id, query, bbox, segmentation, sen_id}]}
    <root>/referit/images/<image id>.jpg

Every annotation is one object with one sentence: its ref, sentence and annotation have the same id, a running number over
the files in that order (their own `sen_id` only stands in messages). `bbox` is a list of boxes [x0, y0, x1, y1] in pixels,
`segmentation` a list of run-length dicts; several of them are united (D53).
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
    """Read the pickles of the folder `annotations` under `root`, those of `SPLITS` that exist.

    An image's size is what its run lengths say; one without any is 0 x 0, and all of its refs have an empty mask. Raises
    `InputError` if there is no pickle, for one that is damaged or would run code, and for a record that is not as above.
    """
    folder = root / annotations
    paths = {
        split: folder / f"{split}.pickle"
        for split in SPLITS
        if (folder / f"{split}.pickle").exists()
    }
    if not paths:
        names = ", ".join(f"{split}.pickle" for split in SPLITS)
        raise InputError(
            f"{folder}: has none of {names}; set dataset.annotations to where they lie under dataset.root ({root}), "
            "such as referit/annotations"
        )
    used: dict[int, Annotation] = {}
    texts, splits = [], []
    images: dict[int, str] = {}
    sizes: dict[int, tuple[int, int]] = {}
    for split, path in paths.items():
        for where, image_id, row in _rows(path):
            used[len(used)] = Annotation(
                where, image_id, _box(row["bbox"], where), row["segmentation"]
            )
            texts.append(row["query"])
            splits.append(split)
            images.setdefault(image_id, f"{path}: image {image_id}")
            for part in row["segmentation"]:
                sizes.setdefault(image_id, _size(part, where))
    ids = list(used)
    named = [(image_id, f"{image_id}.jpg", *sizes.get(image_id, (0, 0))) for image_id in images]
    refs = {
        "ref_id": ids,
        "image_id": [a.image_id for a in used.values()],
        "ann_id": ids,
        "category_id": 0,
        "split": splits,
    }
    return Tables(
        root / IMAGE_FOLDERS["referit"],
        pd.DataFrame(named, columns=["image_id", "file_name", "height", "width"]),
        pd.DataFrame(refs),
        pd.DataFrame({"sent_id": ids, "ref_id": ids, "sent": texts}),
        used,
        lambda kind, row_id: images[row_id] if kind == "image" else used[row_id].where,
    )


def _rows(path: Path) -> Iterator[tuple[str, int, dict[str, Any]]]:
    """Every annotation with its place, for messages, and its image's id."""
    content = load_plain_pickle(path)
    if not isinstance(content, dict) or not content:
        raise InputError(
            f"{path}: holds {reprlib.repr(content)}, expected a dict of images; download the file again"
        )
    for name, image in content.items():
        where = f"{path}: image {name!r}"
        if not (
            isinstance(name, str) and name.isascii() and name.isdigit() and str(int(name)) == name
        ):
            raise InputError(f"{where}: expected an id of digits, as in the file's name; {REPAIR}")
        if not isinstance(image, dict) or not isinstance(image.get("annotations"), list):
            raise InputError(
                f"{where}: is {reprlib.repr(image)}, expected a dict with a list 'annotations'; {REPAIR}"
            )
        for position, row in enumerate(image["annotations"]):
            if not isinstance(row, dict):
                raise InputError(
                    f"{where}, annotation {position}: is {reprlib.repr(row)}, expected a dict; {REPAIR}"
                )
            place = f"{where}, annotation {position} (sen_id {reprlib.repr(row.get('sen_id'))})"
            for key, kind in {"query": str, "bbox": list, "segmentation": list}.items():
                if not isinstance(row.get(key), kind) or not storable(row[key]):
                    value = reprlib.repr(row[key]) if key in row else "missing"
                    raise InputError(
                        f"{place}: {key} is {value}, expected {kind.__name__}; {REPAIR}"
                    )
            if row.get("image_id") != name:
                raise InputError(
                    f"{place}: image_id is {reprlib.repr(row.get('image_id'))}, but it stands under {name!r}; {REPAIR}"
                )
            yield place, int(name), row


def _size(runs: Any, where: str) -> tuple[int, int]:
    """Height and width of a run-length dict."""
    size = runs.get("size") if isinstance(runs, dict) else None
    if (
        not isinstance(size, list)
        or len(size) != 2
        or not all(type(side) is int and side > 0 for side in size)
    ):
        raise InputError(
            f"{where}: segmentation holds {reprlib.repr(runs)}, expected a dict of size and counts; {REPAIR}"
        )
    return size[0], size[1]


def _box(boxes: list[Any], where: str) -> Box:
    """The box around all boxes of an annotation."""
    good = [b for b in boxes if isinstance(b, list) and len(b) == 4 and all(map(is_coordinate, b))]
    if not boxes or len(good) < len(boxes):
        raise InputError(
            f"{where}: bbox is {reprlib.repr(boxes)}, expected a list of [x0, y0, x1, y1] in pixels; {REPAIR}"
        )
    x0, y0, x1, y1 = zip(*good, strict=True)
    return min(x0), min(y0), max(x1), max(y1)
