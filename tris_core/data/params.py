"""Parameters of the stage pack_images."""

from typing import ClassVar

from pydantic import Field

from tris_core.runtime.params import Section


class PackImagesParams(Section):
    """`side`: that in pixels of the square that images are resized to, at most 2,048.

    Resizing is bilinear and does not keep the aspect ratio.
    """

    key: ClassVar[str] = "pack_images"

    side: int = Field(ge=64, le=2048, multiple_of=32)
