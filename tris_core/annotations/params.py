"""How annotations become tables."""

from typing import ClassVar, Literal

from tris_core.runtime.params import Section


class IndexParams(Section):
    """`mask_overlap`: where polygons of one object overlap, a hole as released (`drop`) or not (`union`, and ReferIt always,
    D53).

    `exclude_images_of`: names of splits whose images lose their train refs, such as [val] for RefCOCOg's google partition,
    which divides objects and not images (D58); [] as released.

    `strict`: known dirt (empty sentences, degenerate polygons, refs without sentences) is an error instead of being dropped
    and counted.
    """

    key: ClassVar[str] = "index"

    mask_overlap: Literal["drop", "union"]
    exclude_images_of: list[str]
    strict: bool
