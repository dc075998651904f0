"""Reads refer's annotation files into checked tables: RefCOCO, RefCOCO+, RefCOCOg and `shapes`.

    <annotations>/instances.json       COCO's layout: images, annotations
    <annotations>/refs(<split_by>).p   pickled list of refs, each one annotation and its sentences

Only structural faults are refused here. `tris_core.annotations.index` handles records that have to
be left out.
"""

import json
import reprlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from tris_core.annotations.layout import IMAGE_FOLDERS
from tris_core.annotations.tables import Annotation, Tables, is_coordinate, storable
from tris_core.runtime.errors import InputError
from tris_core.runtime.pickles import load_plain_pickle

REPAIR = "correct the record or download the file again"

STORED = {int: "int of 64 bits", str: "str in Unicode"}

Row = dict[str, Any]
IMAGE_KEYS = {"id": int, "file_name": str, "height": int, "width": int}
ANNOTATION_KEYS = {"id": int, "image_id": int}
REF_KEYS = {
    "ref_id": int,
    "image_id": int,
    "ann_id": int,
    "category_id": int,
    "split": str,
    "sentences": list,
}
CATEGORY_KEYS = {"id": int, "name": str}
SENTENCE_KEYS = {"sent_id": int, "sent": str}


def read_refer(root: Path, name: str, split_by: str, annotations: str) -> Tables:
    """Read data set `name` in partition `split_by` from the folder `annotations` under `root`.

    Raises:
        InputError: a file is missing, damaged or would run code; a record lacks a key or has a
            value of the wrong type; an id is repeated; or a record refers to one that does not
            exist.
    """
    folder = root / annotations
    if not folder.is_dir():
        fix = f"set dataset.annotations to the folder of instances.json under dataset.root ({root})"
        usual = f"refer's downloads have it in refer/{name}"
        raise InputError(f"{folder}: no such folder; {fix}; {usual}")
    instances_path, refs_path = folder / "instances.json", folder / f"refs({split_by}).p"
    image_rows, annotation_rows, category_rows = _read_instances(instances_path)
    if not refs_path.exists():
        found = ", ".join(sorted(path.name for path in folder.glob("refs(*).p"))) or "none"
        fix = f"choose dataset.split_by among the partitions there: {found}"
        raise InputError(f"{refs_path}: no such file; {fix}")
    ref_rows = load_plain_pickle(refs_path)
    if not isinstance(ref_rows, list) or not ref_rows:
        problem = f"holds {reprlib.repr(ref_rows)}, expected a list of refs"
        raise InputError(f"{refs_path}: {problem}; download the file again")

    images = _table(instances_path, "images", image_rows, IMAGE_KEYS, "id").rename(
        columns={"id": "image_id"}
    )
    listed = _table(instances_path, "annotations", annotation_rows, ANNOTATION_KEYS, "id")
    categories = _table(instances_path, "categories", category_rows, CATEGORY_KEYS, "id")
    refs = _table(refs_path, "refs", ref_rows, REF_KEYS, "ref_id")
    sentences = _sentences(refs_path, refs)
    _check_refs(refs_path, instances_path, refs, images, listed)
    used = _used_annotations(instances_path, listed, annotation_rows, images, refs)
    _check_same_image(refs_path, refs, used)
    files = {
        "image": instances_path,
        "annotation": instances_path,
        "ref": refs_path,
        "sentence": refs_path,
    }
    return Tables(
        root / IMAGE_FOLDERS[name],
        images,
        refs.drop(columns="sentences"),
        sentences,
        used,
        lambda kind, row_id: f"{files[kind]}: {kind} {row_id}",
        dict(zip(categories["id"], categories["name"], strict=True)),
    )


def _read_instances(path: Path) -> tuple[list[Row], list[Row], list[Row]]:
    try:
        instances = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        fix = "unpack refer's download there or correct dataset.annotations"
        raise InputError(f"{path}: no such file; {fix}") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not JSON ({error}); download the file again") from error
    for key in ("images", "annotations", "categories"):
        if not isinstance(instances, dict) or not isinstance(instances.get(key), list):
            fix = "this is not refer's instances.json, download it again"
            raise InputError(f"{path}: has no list {key!r}; {fix}")
    return instances["images"], instances["annotations"], instances["categories"]


def _fault(
    path: Path, table: str, position: int, row_id: object, problem: str, fix: str
) -> InputError:
    return InputError(f"{path}: {table} row {position} (id {row_id}): {problem}; {fix}")


def _check_rows(
    path: Path, table: str, rows: Sequence[Row], keys: Mapping[str, type], id_key: str
) -> None:
    """Check that every row has `keys`, each with a value of exactly its type."""
    for position, row in enumerate(rows):
        if not isinstance(row, dict):
            problem = f"is {reprlib.repr(row)}, expected a dict"
            raise _fault(path, table, position, "unknown", problem, REPAIR)
        for key, kind in keys.items():
            if type(row.get(key)) is not kind or not storable(row[key]):
                value = reprlib.repr(row[key]) if key in row else "missing"
                expected = kind.__name__ if type(row.get(key)) is not kind else STORED[kind]
                problem = f"{key} is {value}, expected {expected}"
                raise _fault(path, table, position, reprlib.repr(row.get(id_key)), problem, REPAIR)


def _table(
    path: Path, table: str, rows: Sequence[Row], keys: Mapping[str, type], id_key: str
) -> pd.DataFrame:
    """The columns `keys` of checked `rows`, with unique ids."""
    _check_rows(path, table, rows, keys, id_key)
    frame = pd.DataFrame({key: [row[key] for row in rows] for key in keys})
    _check_unique(path, table, frame[id_key])
    return frame


def _check_unique(path: Path, table: str, ids: "pd.Series[int]") -> None:
    repeated = ids.index[ids.duplicated()]
    if len(repeated):
        position = repeated[0]
        first = ids.index[ids == ids[position]][0]
        problem, fix = f"repeats the id of row {first}", "remove one of the two"
        raise _fault(path, table, position, ids[position], problem, fix)


def _sentences(path: Path, refs: pd.DataFrame) -> pd.DataFrame:
    columns: dict[str, list[Any]] = {"ref_id": [], "sent_id": [], "sent": []}
    for ref_id, rows in zip(refs["ref_id"], refs["sentences"], strict=True):
        _check_rows(path, f"ref {ref_id}, sentences", rows, SENTENCE_KEYS, "sent_id")
        columns["ref_id"] += [ref_id] * len(rows)
        for key in SENTENCE_KEYS:
            columns[key] += [row[key] for row in rows]
    sentences = pd.DataFrame(columns)
    _check_unique(path, "sentences (counted over all refs)", sentences["sent_id"])
    return sentences


def _check_refs(
    path: Path,
    instances_path: Path,
    refs: pd.DataFrame,
    images: pd.DataFrame,
    annotations: pd.DataFrame,
) -> None:
    """Check that every ref has a split, an existing image and an existing annotation."""
    mismatch = f"take {instances_path.name} and {path.name} from the same download"
    no_split = refs["split"].str.strip() == ""
    no_image = ~refs["image_id"].isin(images["image_id"])
    no_annotation = ~refs["ann_id"].isin(annotations["id"])
    absent = f"is not among the {{}} of {instances_path}"
    checks = (
        (no_split, "split", "is empty", "name the split, such as train or val"),
        (no_image, "image_id", absent.format("images"), mismatch),
        (no_annotation, "ann_id", absent.format("annotations"), mismatch),
    )
    for wrong, key, problem, fix in checks:
        for position in refs.index[wrong][:1]:
            row = refs.loc[position]
            raise _fault(
                path, "refs", position, row["ref_id"], f"{key} '{row[key]}' {problem}", fix
            )


def _used_annotations(
    path: Path, annotations: pd.DataFrame, rows: list[Row], images: pd.DataFrame, refs: pd.DataFrame
) -> dict[int, Annotation]:
    """The annotations that a ref uses; of the others only the id matters."""
    used: dict[int, Annotation] = {}
    image_ids = set(images["image_id"])
    for position in annotations.index[annotations["id"].isin(refs["ann_id"])]:
        row = rows[position]
        if row["image_id"] not in image_ids:
            problem = f"image_id {row['image_id']} is not among the images"
            raise _fault(path, "annotations", position, row["id"], problem, REPAIR)
        if "segmentation" not in row:
            problem = "a ref uses it, but it has no segmentation"
            raise _fault(path, "annotations", position, row["id"], problem, REPAIR)
        if not _is_box(row.get("bbox")):
            found = reprlib.repr(row.get("bbox"))
            problem = f"bbox is {found}, expected x, y, width, height in pixels"
            raise _fault(path, "annotations", position, row["id"], problem, REPAIR)
        x, y, w, h = row["bbox"]
        where, box = f"{path}: annotation {row['id']}", (x, y, x + w, y + h)
        used[row["id"]] = Annotation(where, row["image_id"], (box,), row["segmentation"])
    return used


def _is_box(value: object) -> bool:
    return isinstance(value, list) and len(value) == 4 and all(map(is_coordinate, value))


def _check_same_image(path: Path, refs: pd.DataFrame, annotations: dict[int, Annotation]) -> None:
    owners = refs["ann_id"].map({ann_id: row.image_id for ann_id, row in annotations.items()})
    for position in refs.index[owners != refs["image_id"]][:1]:
        row = refs.loc[position]
        owner = f"its annotation {row['ann_id']} belongs to image {owners[position]}"
        problem = f"image_id is {row['image_id']}, but {owner}"
        raise _fault(path, "refs", position, row["ref_id"], problem, "correct whichever is wrong")
