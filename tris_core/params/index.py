"""How annotations become tables."""

from typing import ClassVar, Literal

from tris_core.params.base import Section


class IndexParams(Section):
    """`mask_overlap`: where polygons of one object overlap, a hole as released (`drop`) or not (`union`).

    `strict`: known dirt (empty sentences, degenerate polygons, refs without sentences) is an error instead of being dropped
    and counted.
    """

    key: ClassVar[str] = "index"

    mask_overlap: Literal["drop", "union"]
    strict: bool
