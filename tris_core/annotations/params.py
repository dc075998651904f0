"""Parameters of the stage index."""

from typing import ClassVar, Literal

from tris_core.runtime.params import Section


class IndexParams(Section):
    """What the index leaves out or repairs.

    `mask_overlap`: where polygons of one object overlap, `drop` leaves a hole, as released, and
    `union` fills it. ReferIt's masks are always united (docs/paper_vs_code.md#masks).

    `exclude_images_of`: no train ref is on an image of these splits; [] as released. RefCOCOg's
    google partition divides objects, not images, so there [val] keeps its images out of training.

    `strict`: empty sentences, degenerate polygons, refs without sentences and masks without pixels
    are errors. Otherwise they are dropped or repaired, and counted; of a mask without pixels only
    the truth is dropped.
    """

    key: ClassVar[str] = "index"

    mask_overlap: Literal["drop", "union"]
    exclude_images_of: list[str]
    strict: bool
