"""The index: refer's annotations as Parquet tables, without what has to be left out.

images.parquet       one row per image that a ref uses; paths relative to the image root
refs.parquet         one object of an image, and the split it belongs to
expressions.parquet  the sentences of a ref
truth.parquet        box and mask per ref, apart from the rest because only evaluation may open it
drops.parquet        what was left out or mended, and why
"""

from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path, PureWindowsPath

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from tris_core.data import rle
from tris_core.data.refer import ReferTables, read_refer
from tris_core.errors import InputError
from tris_core.files import replacing

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
            ("split", pa.string()),
        ]
    ),
    "expressions": pa.schema([("expression_id", pa.int64()), ("ref_id", pa.int64()), ("text", pa.string())]),
    "truth": pa.schema(
        [("ref_id", pa.int64())]
        + [(corner, pa.float64()) for corner in ("x0", "y0", "x1", "y1")]
        + [("area", pa.int64()), ("height", pa.int32()), ("width", pa.int32()), ("counts", pa.binary())]
    ),
    "drops": pa.schema([("kind", pa.string()), ("id", pa.int64()), ("reason", pa.string())]),
}

EMPTY = "empty"
WITHOUT_SENTENCES = "without sentences"
WITHOUT_PIXELS = "without a mask pixel"
OF_DROPPED_REF = "of a ref without a mask pixel"


@dataclass(frozen=True)
class Index:
    """Tables of `SCHEMAS`: images by image_id, refs by ref_id, expressions by (ref_id, expression_id), truth by ref_id.

    A box is (x0, y0, x1, y1) in pixels as annotated; area is the mask's number of pixels; counts are compressed COCO
    runs (`tris_core.data.rle`). `drops` lists in reading order a kind (sentence, ref, annotation), its id and a reason;
    an annotation listed there was mended and stays.
    """

    images: pa.Table
    refs: pa.Table
    expressions: pa.Table
    truth: pa.Table
    drops: pa.Table


class _Drops:
    """Collects what is left out or mended; when strict, the first such record is an error."""

    def __init__(self, tables: ReferTables, strict: bool) -> None:
        self.rows: list[tuple[str, int, str]] = []
        self._files = {"sentence": tables.refs_path, "ref": tables.refs_path, "annotation": tables.instances_path}
        self._strict = strict

    def add(self, kind: str, ids: Iterable[int], reason: str) -> None:
        for row_id in ids:
            if self._strict:
                fix = "correct it, or turn strict off to have such records left out or mended, and counted"
                raise InputError(f"{self._files[kind]}: {kind} {row_id}: {reason}; {fix}")
            self.rows.append((kind, int(row_id), reason))


def build_index(root: Path, name: str, split_by: str, *, mask_overlap: rle.Overlap = "drop", strict: bool = False) -> Index:
    """Read a refer data set (`tris_core.data.refer.read_refer`) and the headers of its images.

    Left out and listed in `drops`: blank sentences, refs without any sentence, refs without a mask pixel and their
    sentences. Mended and listed: polygons without area (left out of the mask), polygons that leave the image (clipped),
    polygons that overlap (a hole there with `mask_overlap="drop"`, as released; filled with "union"). With `strict` the
    first of these is a `InputError`; so are, always, structural faults, missing or unreadable images, images of another
    size than annotated, and file names that leave the image folder.
    """
    tables = read_refer(root, name, split_by)
    drops = _Drops(tables, strict)
    refs, sentences = tables.refs, tables.sentences
    blank = sentences["sent"].str.strip() == ""
    drops.add("sentence", sentences["sent_id"][blank], EMPTY)
    sentences = sentences[~blank]
    spoken = refs["ref_id"].isin(sentences["ref_id"])
    drops.add("ref", refs["ref_id"][~spoken], WITHOUT_SENTENCES)

    truth = _truth(tables, refs[spoken], mask_overlap, drops)
    visible = truth["area"] > 0
    drops.add("ref", truth["ref_id"][~visible], WITHOUT_PIXELS)
    truth = truth[visible]
    pictured = sentences["ref_id"].isin(truth["ref_id"])
    drops.add("sentence", sentences["sent_id"][~pictured], OF_DROPPED_REF)

    refs = refs[refs["ref_id"].isin(truth["ref_id"])]
    expressions = sentences[pictured].rename(columns={"sent_id": "expression_id", "sent": "text"})
    frames = {
        "images": _images(tables, refs).sort_values("image_id"),
        "refs": refs.sort_values("ref_id"),
        "expressions": expressions.sort_values(["ref_id", "expression_id"]),
        "truth": truth.sort_values("ref_id"),
        "drops": pd.DataFrame(drops.rows, columns=SCHEMAS["drops"].names),
    }
    return Index(**{table: _to_arrow(table, frame) for table, frame in frames.items()})


def _to_arrow(table: str, frame: pd.DataFrame) -> pa.Table:
    """Without pandas' own metadata, which names its version: files are to repeat to the byte."""
    return pa.Table.from_pandas(frame, SCHEMAS[table], preserve_index=False).replace_schema_metadata(None)


def _truth(tables: ReferTables, refs: pd.DataFrame, overlap: rle.Overlap, drops: _Drops) -> pd.DataFrame:
    """Box and mask per ref; a mask that several refs share is made once."""
    images = tables.images
    sizes = dict(zip(images["image_id"], zip(images["height"], images["width"], strict=True), strict=True))
    rows = []
    for ann_id in refs["ann_id"].unique():
        annotation = tables.annotations[ann_id]
        height, width = sizes[annotation["image_id"]]
        try:
            counts, remarks = rle.from_segmentation(annotation["segmentation"], height, width, overlap)
        except ValueError as error:
            raise InputError(
                f"{tables.instances_path}: annotation {ann_id}: {error}; correct the segmentation or download again"
            ) from error
        for remark in remarks:
            drops.add("annotation", [ann_id], remark)
        x, y, w, h = annotation["bbox"]
        rows.append((ann_id, x, y, x + w, y + h, rle.area(counts, height, width), height, width, counts))
    masks = pd.DataFrame(rows, columns=["ann_id", *SCHEMAS["truth"].names[1:]])
    return refs[["ref_id", "ann_id"]].merge(masks, on="ann_id", validate="many_to_one")


def _images(tables: ReferTables, refs: pd.DataFrame) -> pd.DataFrame:
    used = tables.images[tables.images["image_id"].isin(refs["image_id"])]
    rows = []
    for image_id, file_name, height, width in used.itertuples(index=False):
        parsed = PureWindowsPath(file_name)  # knows both kinds of slash, and drives
        if parsed.anchor or ".." in parsed.parts or not parsed.parts:
            problem = f"image {image_id}: file_name {file_name!r} leaves the image folder"
            raise InputError(f"{tables.instances_path}: {problem}; name a file inside {tables.image_root}")
        path = tables.image_root / file_name
        if (found := _size(path, image_id)) != (width, height):
            raise InputError(
                f"{path}: image {image_id} is {found[0]} x {found[1]} (width x height), but {tables.instances_path} "
                f"says {width} x {height}; use the image that was annotated, not a resized copy"
            )
        rows.append((image_id, file_name, height, width, path.stat().st_size))
    return pd.DataFrame(rows, columns=SCHEMAS["images"].names)


def _size(path: Path, image_id: int) -> tuple[int, int]:
    """Width and height from the file's header; no pixel is decoded."""
    try:
        with Image.open(path) as image:
            return image.size
    except FileNotFoundError as error:
        raise InputError(f"{path}: image {image_id} is missing; put it there or correct the data root") from error
    except (OSError, Image.DecompressionBombError) as error:
        raise InputError(f"{path}: image {image_id} cannot be read ({error}); download it again") from error


def write_index(index: Index, folder: Path) -> None:
    """Write the tables of `SCHEMAS` as `<folder>/<table>.parquet`. Equal tables give equal bytes."""
    for field in fields(index):
        with replacing(folder / f"{field.name}.parquet") as path:
            pq.write_table(getattr(index, field.name), path)


def drop_summary(index: Index) -> str:
    """What was left out or mended, counted: "2 sentences empty, 1 ref without sentences"; "nothing" if nothing was."""
    counts = index.drops.to_pandas().value_counts(["kind", "reason"], sort=False).to_dict()
    pieces = []
    for (kind, reason), count in sorted(counts.items()):
        noun = kind if count == 1 else f"{kind}s"
        pieces.append(f"{count} {noun}{': ' if kind == 'annotation' else ' '}{reason}")
    return ", ".join(pieces) or "nothing"
