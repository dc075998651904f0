"""The embedded data set."""

from typing import ClassVar

from pydantic import Field

from tris_core.runtime.params import Section


class MakeShapesParams(Section):
    """Scenes per split, and the seed they are drawn from."""

    key: ClassVar[str] = "make_shapes"

    train: int = Field(ge=1)
    val: int = Field(ge=1)
    test: int = Field(ge=1)
    seed: int = Field(ge=0)
