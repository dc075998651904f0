"""The index: a data set's annotations as Parquet tables, without what has to be left out.

images.parquet       one row per image of a ref; paths are relative to `dataset.root`
refs.parquet         one object of an image, and the split it belongs to
expressions.parquet  the sentences of a ref
truth.parquet        box and mask of each ref that has them; only evaluation reads it
drops.parquet        what was left out or repaired, and why
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path, PurePath

import numpy as np
import pandas as pd
import pyarrow as pa

from tris_core.annotations.layout import PARTITIONS
from tris_core.annotations.lists import read_pairs
from tris_core.annotations.refer import read_refer
from tris_core.annotations.referit import read_referit
from tris_core.annotations.tables import Tables, check_size, image_header
from tris_core.data import rle
from tris_core.data.image_files import Header
from tris_core.runtime.errors import InputError, counted
from tris_core.runtime.files import replacing
from tris_core.runtime.parquet import write_table

SCHEMAS = {
    "images": pa.schema(
        [
            ("image_id", pa.int64()),
            ("path", pa.string()),
            ("height", pa.int32()),
            ("width", pa.int32()),
            ("bytes", pa.int64()),
        ]
    ),
    "refs": pa.schema(
        [
            ("ref_id", pa.int64()),
            ("image_id", pa.int64()),
            ("ann_id", pa.int64()),
            ("category_id", pa.int64()),
            ("category", pa.string()),
            ("split", pa.string()),
        ]
    ),
    "expressions": pa.schema(
        [("expression_id", pa.int64()), ("ref_id", pa.int64()), ("text", pa.string())]
    ),
    "truth": pa.schema(
        [("ref_id", pa.int64())]
        + [(corner, pa.float64()) for corner in ("x0", "y0", "x1", "y1")]
        + [
            ("area", pa.int64()),
            ("height", pa.int32()),
            ("width", pa.int32()),
            ("counts", pa.binary()),
        ]
    ),
    "drops": pa.schema([("kind", pa.string()), ("id", pa.int64()), ("reason", pa.string())]),
}

# of truth.parquet, only where a ref has several boxes: those after its first, four numbers each
MORE_BOXES = pa.field("more_boxes", pa.list_(pa.float64()))

SORTED_BY = {
    "images": ("image_id",),
    "refs": ("ref_id",),
    "expressions": ("ref_id", "expression_id"),
    "truth": ("ref_id",),
    "drops": (),
}
EMPTY = "empty"
WITHOUT_SENTENCES = "without sentences"
WITHOUT_PIXELS = "without a mask pixel"
ON_EXCLUDED_IMAGE = "on an image of an excluded split"


@dataclass(frozen=True)
class Annotations:
    """The tables of `SCHEMAS`, which become the files of the index.

    Images are sorted by image_id, refs and truth by ref_id, expressions by (ref_id, expression_id).

    A box is (x0, y0, x1, y1) in pixels as annotated, the first if there are several, or the mask's
    own if there is none. ReferIt's further boxes are in the column `MORE_BOXES`, which other data
    sets do not have. `area` is the mask's number of pixels, `counts` its compressed COCO runs
    (`tris_core.data.rle`).

    `drops` lists, in reading order, a kind (sentence, ref, annotation), its id and a reason. A
    listed sentence or ref is left out. A listed annotation was repaired, or has no pixel; its refs
    are kept. `remarks` are lines about what is odd but not wrong; they are not written to a file.
    """

    images: pa.Table
    refs: pa.Table
    expressions: pa.Table
    truth: pa.Table
    drops: pa.Table
    remarks: tuple[str, ...] = ()


class _Drops:
    """Collects what is left out or repaired. If strict, the first dirty record is an error."""

    def __init__(self, where: Callable[[str, int], str], strict: bool) -> None:
        self.rows: list[tuple[str, int, str]] = []
        self._where = where
        self._strict = strict

    def dirt(self, kind: str, ids: Iterable[int], reason: str) -> None:
        """Add dirty records. Raises `InputError` if strict."""
        for row_id in ids:
            if self._strict:
                fix = "correct it, or turn strict off to drop or repair and count such records"
                raise InputError(f"{self._where(kind, row_id)}: {reason}; {fix}")
            self.rows.append((kind, int(row_id), reason))

    def dirty_refs(self, ref_ids: "pd.Series[int]", sentences: pd.DataFrame, reason: str) -> None:
        """Add dirty refs with their sentences. Raises `InputError` if strict."""
        self.dirt("ref", ref_ids, reason)
        self._sentences_of(ref_ids, sentences, reason)

    def excluded_refs(
        self, ref_ids: "pd.Series[int]", sentences: pd.DataFrame, reason: str
    ) -> None:
        """Add refs that are excluded on request, with their sentences. Never an error."""
        self.rows += [("ref", int(row_id), reason) for row_id in ref_ids]
        self._sentences_of(ref_ids, sentences, reason)

    def _sentences_of(
        self, ref_ids: "pd.Series[int]", sentences: pd.DataFrame, reason: str
    ) -> None:
        gone = sentences["sent_id"][sentences["ref_id"].isin(ref_ids)]
        self.rows += [("sentence", int(i), f"of a ref {reason}") for i in gone]


def read_annotations(root: Path, name: str, split_by: str, annotations: str) -> Tables:
    """Read data set `name` (a key of `PARTITIONS`) from the path `annotations` under `root`.

    Raises:
        InputError: the data set has no partition `split_by`, `annotations` leaves `root`, or the
            data set's reader refuses the files.
    """
    if name not in PARTITIONS:
        raise InputError(f"data set {name!r} is not known; use one of {', '.join(PARTITIONS)}")
    if split_by not in PARTITIONS[name]:
        known = " or ".join(PARTITIONS[name])
        raise InputError(f"dataset.split_by = {split_by!r}: for {name} it must be {known}")
    if PurePath(annotations).is_absolute() or ".." in PurePath(annotations).parts:
        raise InputError(
            f"dataset.annotations = {annotations!r}: must be a path inside dataset.root ({root})"
        )
    if name == "list":
        return read_pairs(root, annotations)
    if name == "referit":
        return read_referit(root, annotations)
    return read_refer(root, name, split_by, annotations)


def build_index(
    root: Path,
    name: str,
    split_by: str,
    annotations: str,
    *,
    mask_overlap: rle.Overlap = "drop",
    exclude_images_of: Sequence[str] = (),
    strict: bool = False,
) -> Annotations:
    """Read a data set (`read_annotations`) and the headers of its images.

    These are left out and listed in `drops`: blank sentences, refs without a sentence, and
    excluded refs. No mask decides about a ref: one without a pixel is listed in `drops` and left
    out of `truth`, and its refs stay (docs/paper_vs_code.md#masks).

    These are repaired and listed in `drops`: polygons without area (left out of the mask),
    polygons that leave the image (clipped) and polygons that overlap.

    Args:
        root, name, split_by, annotations: see `read_annotations`.
        mask_overlap: what becomes of an overlap of polygons. "drop" leaves a hole, as released;
            "union" fills it (docs/paper_vs_code.md#masks).
        exclude_images_of: splits; train refs on their images are excluded.
        strict: raise an error instead of leaving out or repairing. Exclusion is not affected.

    Raises:
        InputError: a structural fault, a missing or unreadable image, an image of another size
            than annotated, or a file name that leaves the image folder.
    """
    tables = read_annotations(root, name, split_by, annotations)
    drops = _Drops(tables.where, strict)
    refs, sentences = _with_sentences(tables, drops)

    excluded = _on_excluded_images(refs, exclude_images_of)
    drops.excluded_refs(refs["ref_id"][excluded], sentences, ON_EXCLUDED_IMAGE)
    refs = _rows(refs, ~excluded)

    images, turned = _images(root, tables, refs)  # checks sizes before masks of that size are made
    truth = _truth(tables, refs, images, mask_overlap, drops)
    remarks = (*tables.remarks, *turned, *_of_training(root / annotations, refs))

    expressions = _rows(sentences, sentences["ref_id"].isin(refs["ref_id"])).rename(
        columns={"sent_id": "expression_id", "sent": "text"}
    )
    frames = {
        "expressions": expressions,
        "refs": refs.assign(category=refs["category_id"].map(tables.categories)),
        "images": images,
        "truth": truth,
        "drops": pd.DataFrame(drops.rows, columns=SCHEMAS["drops"].names),
    }
    del tables, refs, sentences, expressions  # so that each is freed once it is sorted
    made = {
        table: _to_arrow(table, _sorted(frames.pop(table), SORTED_BY[table]))
        for table in list(frames)
    }
    return Annotations(**made, remarks=remarks)


def _with_sentences(tables: Tables, drops: _Drops) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The sentences that are not blank, and the refs that have any: refs, sentences."""
    blank = tables.sentences["sent"].str.strip() == ""
    drops.dirt("sentence", tables.sentences["sent_id"][blank], EMPTY)
    sentences = _rows(tables.sentences, ~blank)
    spoken = tables.refs["ref_id"].isin(sentences["ref_id"])
    drops.dirt("ref", tables.refs["ref_id"][~spoken], WITHOUT_SENTENCES)
    return _rows(tables.refs, spoken), sentences


def _sorted(frame: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """Sorted by integer columns; not copied if already sorted."""
    if not names:
        return frame
    order = np.lexsort([frame[name] for name in reversed(names)])
    return frame if (order == np.arange(len(order))).all() else frame.take(order)


def _rows(frame: pd.DataFrame, kept: "pd.Series[bool]") -> pd.DataFrame:
    """The rows to keep; not copied if that is all of them."""
    return frame if kept.all() else frame[kept]


def _of_training(path: Path, refs: pd.DataFrame) -> list[str]:
    """Remarks about the refs of the train split. Raises `InputError` if there is none."""
    if refs.empty:
        problem = "no ref is left, all lack a sentence"
        raise InputError(f"{path}: {problem}; correct the annotations")
    images = refs["image_id"][refs["split"] == "train"].unique()
    if len(images) == 0:
        found = ", ".join(repr(str(name)) for name in sorted(refs["split"].unique())[:9])
        fix = "call the split to train on 'train'"
        raise InputError(f"{path}: no ref of the split train; found {found}; {fix}")
    if len(images) == 1:
        problem = "all refs of train are on one picture"
        return [f"{problem}: there are no negatives, and training will learn nothing"]
    return []


def _to_arrow(table: str, frame: pd.DataFrame) -> pa.Table:
    """An Arrow table without pandas' metadata, which contains its version.

    Files must repeat to the byte.
    """
    schema = SCHEMAS[table]
    if MORE_BOXES.name in frame:
        schema = schema.append(MORE_BOXES)
    made = pa.Table.from_pandas(frame, schema, preserve_index=False)
    return made.replace_schema_metadata(None)


def _on_excluded_images(refs: pd.DataFrame, splits: Sequence[str]) -> "pd.Series[bool]":
    """Which train refs are on an image that one of `splits` uses too."""
    found = sorted(refs["split"].unique())
    for split in splits:
        if split == "train" or split not in found:
            others = ", ".join(name for name in found if name != "train")
            known = f"the other splits of this data set are {others or 'none'}"
            raise InputError(f"index.exclude_images_of names {split!r}; {known}")
    used = refs["image_id"][refs["split"].isin(splits)]
    return (refs["split"] == "train") & refs["image_id"].isin(used)


def _truth(
    tables: Tables, refs: pd.DataFrame, images: pd.DataFrame, overlap: rle.Overlap, drops: _Drops
) -> pd.DataFrame:
    """Boxes and mask of each ref whose mask has a pixel; a mask that refs share is made once."""
    size = zip(images["height"], images["width"], strict=True)
    sizes = dict(zip(images["image_id"], size, strict=True))
    rows, more = [], dict[int, list[float]]()
    annotated = np.fromiter(tables.annotations, np.int64, len(tables.annotations))
    known = refs.loc[refs["ann_id"].isin(annotated), ["ref_id", "ann_id"]]
    for ann_id in known["ann_id"].unique():
        annotation = tables.annotations[ann_id]
        height, width = sizes[annotation.image_id]
        try:
            counts, remarks = rle.from_segmentation(annotation.segmentation, height, width, overlap)
        except ValueError as error:
            fix = "correct the segmentation or download again"
            raise InputError(f"{annotation.where}: {error}; {fix}") from error
        area = rle.area(counts, height, width)
        for remark in remarks if area else [*remarks, WITHOUT_PIXELS]:
            drops.dirt("annotation", [ann_id], remark)
        if area:
            box, *others = annotation.boxes or [rle.box(counts, height, width)]
            rows.append((ann_id, *box, area, height, width, counts))
            more |= {ann_id: list(chain(*others))} if others else {}
    masks = pd.DataFrame(rows, columns=["ann_id", *SCHEMAS["truth"].names[1:]])
    masks = masks.astype({"ann_id": "int64"})
    if more:
        masks[MORE_BOXES.name] = masks["ann_id"].map(more)
    return known.merge(masks, on="ann_id", validate="many_to_one")


def _images(root: Path, tables: Tables, refs: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """The table of images, and a remark if EXIF orientations turn some of them."""
    used = tables.images[tables.images["image_id"].isin(refs["image_id"])]
    rows, turned = [], 0
    columns = ["image_id", "file_name", "height", "width"]
    for image_id, file_name, height, width in used[columns].itertuples(index=False):
        where, path = tables.where("image", image_id), tables.image_root / file_name
        check_size(height, width, where)
        header = image_header(tables.image_root, file_name, where)
        if height or width:  # else the annotations give none
            _check_annotated_size(header, height, width, where, path)
        turned += header.orientation != 1
        size = header.height, header.width, path.stat().st_size
        rows.append((image_id, path.relative_to(root).as_posix(), *size))
    remark = [f"{counted(turned, 'image')} turned as the EXIF orientation says"] if turned else []
    return pd.DataFrame(rows, columns=SCHEMAS["images"].names), remark


def _check_annotated_size(header: Header, height: int, width: int, where: str, path: Path) -> None:
    if (header.height, header.width) == (height, width):
        return
    found = f"{path} is {header.width} x {header.height}"
    problem = f"annotated at {width} x {height} (width x height), but {found}"
    fix = "use the image that was annotated, not a resized copy"
    if header.orientation >= 5 and (header.width, header.height) == (height, width):
        problem += f" when displayed: its EXIF orientation ({header.orientation}) turns it"
        fix = "annotate it as displayed, or save the image without its EXIF orientation"
    raise InputError(f"{where}: {problem}; {fix}")


def write_index(annotations: Annotations, folder: Path) -> None:
    """Write images, refs and expressions to `folder`, and truth and drops beside it.

    The truth is kept apart because only evaluation reads it. Equal tables give equal bytes.
    """
    with replacing(folder) as temporary:
        temporary.mkdir()
        for table in ("images", "refs", "expressions"):
            write_table(temporary / f"{table}.parquet", getattr(annotations, table))
    for table in ("truth", "drops"):
        write_table(folder.with_name(f"{table}.parquet"), getattr(annotations, table))


def drop_summary(annotations: Annotations) -> str:
    """Counts of what was left out or repaired, or "nothing".

    For example "2 sentences empty, 1 ref without sentences".
    """
    drops = annotations.drops.to_pandas()
    counts = drops.value_counts(["kind", "reason"], sort=False).to_dict()
    pieces = []
    for (kind, reason), count in sorted(counts.items()):
        pieces.append(f"{counted(count, kind)}{': ' if kind == 'annotation' else ' '}{reason}")
    return ", ".join(pieces) or "nothing"
