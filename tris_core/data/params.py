"""Images at training size."""

from typing import ClassVar

from pydantic import Field

from tris_core.runtime.params import Section


class PackImagesParams(Section):
    """`size`: side in pixels of the square that every image is resized to (bilinear, aspect ratio not kept), at most 2,048."""

    key: ClassVar[str] = "pack_images"

    size: int = Field(ge=64, le=2048, multiple_of=32)
