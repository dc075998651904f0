"""Rows of pictures: grouped once, then one slice per picture; and what rows share of one."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

Rows = NDArray[np.int64]


class RowsByImage(Sequence[Rows]):
    """The rows of `image_of` (L,), grouped by picture in ascending order.

    Each item holds the rows of `images` pictures. Rows of one picture keep their order. It takes 8
    bytes a row and 8 bytes an item, with no Python object per picture.
    """

    def __init__(self, image_of: Rows, images: int = 1) -> None:
        self._order = np.argsort(image_of, kind="stable")
        first = np.flatnonzero(np.diff(image_of[self._order], prepend=-1))
        self._starts = np.append(first[::images], len(image_of))

    def __len__(self) -> int:
        return len(self._starts) - 1

    def __getitem__(self, number: int) -> Rows:  # type: ignore[override]
        if not 0 <= number < len(self):
            raise IndexError(number)
        return self._order[self._starts[number] : self._starts[number + 1]]


def each(x: Tensor, image_of: Tensor | None) -> Tensor:
    """The part of `x` (I, ...) that belongs to each of B rows, (B, ...).

    `image_of` (B,) holds their images' positions in `x`. Without it, `x` is in the order of the
    rows already.
    """
    return x if image_of is None else x[image_of]
