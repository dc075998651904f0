"""Masks and boxes of a list, checked once, then made into annotations one at a time."""

import math
import reprlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tris_core.annotations.list_masks import check_same_size, segmentation_of
from tris_core.annotations.tables import Annotation, Box
from tris_core.data import rle
from tris_core.runtime.errors import InputError

Rows = NDArray[np.integer[Any]]


class ListTruth(Mapping[int, Annotation]):
    """The annotations of a list, by the number (from 1) of their object's first row."""

    def __init__(
        self,
        path: Path,
        cells: dict[str, pa.ChunkedArray],
        owner: Rows,
        image_id: Rows,
        sizes: NDArray[np.int64],
    ) -> None:
        """Check all masks and boxes.

        Args:
            path: the list, for messages.
            cells: the columns mask, height, width and box that the list has; null if blank.
            owner: (rows,) the first row (from 0) of each row's object.
            image_id: (rows,) the image of each row.
            sizes: (images, 2) height and width in pixels.

        Raises:
            InputError: a mask or a box is wrong, or rows of one object disagree.
        """
        self._path, self._cells, self._image_id, self._sizes = path, cells, image_id, sizes
        _check_types(path, cells)
        self._first = {name: self._first_rows(name, owner) for name in cells}
        self._check()

    def __getitem__(self, ann_id: int) -> Annotation:
        row = self._row("mask", ann_id - 1)
        if row is None:
            raise KeyError(ann_id)
        where = f"{self._path}: row {row + 1}: mask"
        image_id = int(self._image_id[row])
        box_row = self._row("box", ann_id - 1)
        boxes = () if box_row is None else (self._box(box_row),)
        return Annotation(where, image_id, boxes, self._segmentation(row))

    def __iter__(self) -> Iterator[int]:
        return iter((self._heads("mask") + 1).tolist())

    def __len__(self) -> int:
        return len(self._heads("mask"))

    def _first_rows(self, name: str, owner: Rows) -> tuple[Rows, Rows]:
        """The first row of each object that has this column, and the first row with the cell."""
        cells = self._cells[name]
        rows = np.flatnonzero(cells.is_valid().to_numpy())
        heads, first = np.unique(owner[rows], return_index=True)
        known = rows[first][np.searchsorted(heads, owner[rows])]
        other = rows != known
        for row, earlier in zip(rows[other].tolist(), known[other].tolist(), strict=True):
            if cells[row] != cells[earlier]:
                said, before = self._value(name, row), self._value(name, earlier)
                if said != before:
                    contradict(self._path, row, name, said, earlier, before)
        return heads, rows[first]

    def _value(self, name: str, row: int) -> object:
        if name == "mask":
            return self._cells[name][row].as_py()
        return self._box(row) if name == "box" else self._side(name, row)

    def _heads(self, name: str) -> Rows:
        return self._first[name][0] if name in self._first else np.zeros(0, np.int64)

    def _row(self, name: str, head: int) -> int | None:
        """The row with an object's cell, or None."""
        heads = self._heads(name)
        place = int(np.searchsorted(heads, head))
        found = place < len(heads) and heads[place] == head
        return int(self._first[name][1][place]) if found else None

    def _check(self) -> None:
        """Check that every mask fits its picture, and that every box is inside and has a mask."""
        lone = np.setdiff1d(self._heads("box"), self._heads("mask"))
        if len(lone):
            fix = "add the mask, which evaluation needs, or leave both out"
            row = self._first["box"][1][np.searchsorted(self._heads("box"), lone[0])]
            raise InputError(f"{self._path}: row {row + 1}: has a box but no mask; {fix}")
        for ann_id in self:
            annotation = self[ann_id]
            height, width = self._sizes[annotation.image_id].tolist()
            try:
                counts, _ = rle.from_segmentation(annotation.segmentation, height, width, "union")
                if not rle.area(counts, height, width):
                    raise ValueError("has no pixel; leave the cell empty if there is no true mask")
            except ValueError as error:
                shown = reprlib.repr(annotation.segmentation["counts"])
                fix = "" if ";" in str(error) else "; give COCO's compressed run lengths"
                raise InputError(f"{annotation.where} {shown}: {error}{fix}") from error

    def _segmentation(self, row: int) -> dict[str, Any]:
        cell = self._cells["mask"][row]
        try:
            if isinstance(cell, pa.StructScalar) and len(cell["size"].values or ()) != 2:
                raise ValueError("has a size that is not two whole numbers")
            height, width = self._side("height", row), self._side("width", row)
            found = segmentation_of(cell.as_py(), height, width)
            check_same_size(found["size"], *self._sizes[self._image_id[row]].tolist())
        except ValueError as error:
            if isinstance(error, InputError):
                raise
            shown = reprlib.repr(cell.as_py())
            raise InputError(f"{self._path}: row {row + 1}: mask {shown}: {error}") from error
        return found

    def _side(self, name: str, row: int) -> int | None:
        value = self._cells[name][row].as_py() if name in self._cells else None
        if value is None:
            return None
        try:
            side = int(float(value))  # pandas writes a column with gaps as 480.0
            if side < 1 or side != float(value):
                raise ValueError
        except (ValueError, OverflowError) as error:
            problem = f"{name} is {reprlib.repr(value)}, expected a whole number of pixels"
            raise InputError(f"{self._path}: row {row + 1}: {problem}; correct it") from error
        return side

    def _box(self, row: int) -> Box:
        cell = self._cells["box"][row]
        is_text = pa.types.is_string(cell.type)
        values = cell.as_py().split() if is_text else cell.values[:5].to_pylist()
        try:
            x0, y0, x1, y1 = (float(value) for value in values)
        except (TypeError, ValueError):
            x0 = y0 = x1 = y1 = math.nan
        where = f"{self._path}: row {row + 1}"
        if not (-math.inf < x0 < x1 < math.inf and -math.inf < y0 < y1 < math.inf):
            shown = cell.as_py() if is_text else values
            expected = "expected four numbers x0 y0 x1 y1 with x0 < x1 and y0 < y1"
            problem = f"box is {reprlib.repr(shown)}, {expected}"
            raise InputError(f"{where}: {problem}; correct it or leave it empty")
        height, width = self._sizes[self._image_id[row]]
        if x0 < 0 or y0 < 0 or x1 > width or y1 > height:
            box = f"{x0:g} {y0:g} {x1:g} {y1:g}"
            problem = f"box {box} leaves the image of {width} x {height} pixels"
            raise InputError(f"{where}: {problem}; give x0 y0 x1 y1 in pixels of the image")
        return x0, y0, x1, y1


def contradict(
    path: Path, row: int, column: str, said: object, earlier: int, known: object
) -> None:
    """Raise `InputError` for two rows (from 0) of one object that disagree."""
    before = f"row {earlier + 1} says {reprlib.repr(known)} of the same object"
    problem = f"{column} is {reprlib.repr(said)}, but {before}"
    fix = "correct one of them, or give them different objects"
    raise InputError(f"{path}: row {row + 1}: {problem}; {fix}")


def _check_types(path: Path, cells: dict[str, pa.ChunkedArray]) -> None:
    for name, expected, of_kind in (
        ("mask", "text, bytes, or a struct of size and counts", _is_mask),
        ("box", "lists of numbers, or text", _is_box),
        ("height", "whole numbers", _is_side),
        ("width", "whole numbers", _is_side),
    ):
        if name in cells and not of_kind(cells[name].type):
            problem = f"column {name} is {cells[name].type}, expected {expected}"
            raise InputError(f"{path}: {problem}; write it again")


def _is_text(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_null(kind)


def _is_mask(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        fields = {field.name: field.type for field in kind}
        sizes, counts = fields.get("size", pa.null()), fields.get("counts", pa.null())
        whole = pa.types.is_list(sizes) and pa.types.is_integer(sizes.value_type)
        return len(fields) == 2 and whole and (_is_text(counts) or pa.types.is_binary(counts))
    return _is_text(kind) or pa.types.is_binary(kind)


def _is_box(kind: pa.DataType) -> bool:
    lists = (pa.types.is_list, pa.types.is_fixed_size_list, pa.types.is_large_list)
    if not any(is_list(kind) for is_list in lists):
        return _is_text(kind)
    return pa.types.is_floating(kind.value_type) or pa.types.is_integer(kind.value_type)


def _is_side(kind: pa.DataType) -> bool:
    return pa.types.is_integer(kind) or pa.types.is_floating(kind) or _is_text(kind)
