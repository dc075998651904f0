"""Checks of the data sets under a root: sizes, completeness, and images shared between splits."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import pandas as pd

from tris_core.annotations.index import read_annotations
from tris_core.annotations.layout import PARTITIONS
from tris_core.annotations.tables import Tables
from tris_core.runtime.errors import InputError, counted

Counts = tuple[int | None, int | None, int | None]
SHOWN = 3  # number of missing images named in a message

# Refs, expressions and images of every split of refer's downloads.
# Refs and images: the catalogue page of TensorFlow Datasets,
# https://www.tensorflow.org/datasets/catalog/ref_coco.
# Expressions of RefCOCO: the dataset page of FlagEval. The other expressions per split are the
# numbers usually quoted. They were not verified one by one, but add up to the published totals:
# 141,564 for RefCOCO+ and 95,010 for both partitions of RefCOCOg. No count of expressions was found
# for RefCOCO in Google's partition, and no reliable counts for ReferIt's pickles.
EXPECTED: dict[tuple[str, str, str], Counts] = {
    ("refcoco", "unc", "train"): (42404, 120624, 16994),
    ("refcoco", "unc", "val"): (3811, 10834, 1500),
    ("refcoco", "unc", "testA"): (1975, 5657, 750),
    ("refcoco", "unc", "testB"): (1810, 5095, 750),
    ("refcoco", "google", "train"): (40000, None, 19213),
    ("refcoco", "google", "val"): (5000, None, 4559),
    ("refcoco", "google", "test"): (5000, None, 4527),
    ("refcoco+", "unc", "train"): (42278, 120191, 16992),
    ("refcoco+", "unc", "val"): (3805, 10758, 1500),
    ("refcoco+", "unc", "testA"): (1975, 5726, 750),
    ("refcoco+", "unc", "testB"): (1798, 4889, 750),
    ("refcocog", "umd", "train"): (42226, 80512, 21899),
    ("refcocog", "umd", "val"): (2573, 4896, 1300),
    ("refcocog", "umd", "test"): (5023, 9602, 2600),
    ("refcocog", "google", "train"): (44822, 85474, 24698),
    ("refcocog", "google", "val"): (5000, 9536, 4650),
}
SOURCES = {
    "refcoco": "TFDS; expressions: FlagEval",
    "refcoco+": "TFDS; expressions: as quoted",
    "refcocog": "TFDS; expressions: as quoted",
}
LEGEND = (
    "expected numbers: TFDS is the ref_coco page of TensorFlow Datasets, FlagEval its RefCOCO "
    "page; 'as quoted' are numbers usually quoted, of which only the sums over splits were "
    "compared with a publication"
)


@dataclass(frozen=True)
class DataCheck:
    """The result of `check_data`.

    Attributes:
        table: one row per data set, partition and split.
        faults: what is wrong, as lines.
        notes: what is worth knowing, as lines.
    """

    table: pd.DataFrame
    faults: list[str]
    notes: list[str]


@dataclass(frozen=True, eq=False)
class _Found:
    name: str
    split_by: str
    tables: Tables

    def __str__(self) -> str:
        return f"{self.name} ({self.split_by})"

    def files(self) -> dict[str, set[str]]:
        """Image files by split."""
        named = self.tables.refs.merge(self.tables.images, on="image_id")
        return {
            str(split): set(part) for split, part in named.groupby("split", sort=False)["file_name"]
        }


def check_data(root: Path, *, subset: bool) -> DataCheck:
    """Read every data set under `root` at the paths of its download.

    These are refer/*/refs(*).p and referit/annotations. Unreadable annotations, missing images and
    unexpected counts are faults; with `subset`, any count is accepted.

    Raises `InputError` if there is no data set.
    """
    faults: list[str] = []
    found: list[_Found] = []
    places, notes = data_sets(root)
    for name, split_by, annotations in places:
        try:
            tables = read_annotations(root, name, split_by, annotations)
            found.append(_Found(name, split_by, tables))
        except InputError as error:
            faults.append(str(error))
    if not found and not faults:
        wanted = "no refer/*/refs(*).p and no referit/annotations/*.pickle"
        raise InputError(f"{root}: {wanted}; unpack a download there")
    rows = [row for data in found for row in _rows(data)]
    if not subset:
        faults += [_unexpected(row) for row in rows if row["verdict"] == "differs"]
    for data in found:
        faults += _missing(data)
    notes += _shared(found)
    if any(row["source"] for row in rows):
        notes.append(LEGEND)
    return DataCheck(pd.DataFrame(rows), faults, notes)


def data_sets(root: Path) -> tuple[list[tuple[str, str, str]], list[str]]:
    """Find the data sets at the paths of their downloads.

    Returns:
        Name, partition and annotations path (relative to `root`) of each, and one line per
        annotation file that no reader supports.
    """
    places, notes = [], []
    for path in sorted(root.glob("refer/*/refs(*).p")):
        name, split_by = path.parent.name, path.name.removeprefix("refs(").removesuffix(").p")
        if split_by in PARTITIONS.get(name, ()):
            places.append((name, split_by, f"refer/{name}"))
        else:
            notes.append(f"{path}: not a data set and partition supported here; ignored")
    if any(root.glob("referit/annotations/*.pickle")):
        places.append(("referit", "none", "referit/annotations"))
    return places, notes


def _unexpected(row: dict[str, object]) -> str:
    found = f"{row['refs / expressions / images']} refs / expressions / images"
    fix = "download again, or pass --subset if it is meant to be a subset"
    return f"{row['data set']} {row['split']}: {found}, expected {row['expected']}; {fix}"


def _rows(data: _Found) -> Iterator[dict[str, object]]:
    refs = data.tables.refs
    split_of = refs[["ref_id", "split"]]
    sentences = data.tables.sentences.merge(split_of, on="ref_id")["split"].value_counts()
    known = (data.name, data.split_by)
    listed = [split for name, split_by, split in EXPECTED if (name, split_by) == known]
    for split in dict.fromkeys([*listed, *refs["split"]]):
        part = refs[refs["split"] == split]
        counts = (len(part), int(sentences.get(split, 0)), part["image_id"].nunique())
        expected = EXPECTED.get((data.name, data.split_by, split))
        yield {
            "data set": str(data),
            "split": split,
            "refs / expressions / images": _joined(counts),
            "expected": _joined(expected) if expected else "not known",
            "verdict": "" if expected is None else "ok" if _agree(counts, expected) else "differs",
            "source": SOURCES[data.name] if expected else "",
        }


def _joined(counts: Counts) -> str:
    return " / ".join("?" if count is None else f"{count:,}" for count in counts)


def _agree(counts: Counts, expected: Counts) -> bool:
    return all(e is None or count == e for count, e in zip(counts, expected, strict=True))


def _missing(data: _Found) -> Iterator[str]:
    root = data.tables.image_root
    names = dict.fromkeys(name for files in data.files().values() for name in sorted(files))
    missing = [name for name in names if not (root / name).is_file()]
    if missing:
        shown = ", ".join(missing[:SHOWN]) + (", ..." if len(missing) > SHOWN else "")
        found = f"{len(missing)} of {len(names)} images missing in {root} ({shown})"
        yield f"{data}: {found}; unpack the images there"


def _shared(found: list[_Found]) -> Iterator[str]:
    """Lines about train images that the same or another data set evaluates on.

    Other overlaps do no harm.
    """
    files = {data: data.files() for data in found}
    for trained, measured in product(found, found):
        if trained.name == measured.name and trained != measured:
            continue  # partitions of one data set overlap by construction
        for split in sorted(files[measured].keys() - {"train"}):
            names = sorted(files[trained].get("train", set()) & files[measured][split])
            if not names:
                continue
            shown = ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")
            count = counted(len(names), "image")
            common = f"{count} of {trained} train also in {measured} {split} ({shown})"
            if trained == measured:
                fix = f"index.exclude_images_of: [{split}] leaves them out of training"
                yield f"{common}; {fix}"
            else:
                yield f"{common}; a model trained on the one has seen images of the other"
