"""Parameters of the stage `make_shapes`."""

from typing import ClassVar

from pydantic import Field

from tris_core.runtime.params import Section


class MakeShapesParams(Section):
    """Number of scenes per split, and the random seed."""

    key: ClassVar[str] = "make_shapes"

    train: int = Field(ge=1)
    val: int = Field(ge=1)
    test: int = Field(ge=1)
    seed: int = Field(ge=0, lt=2**32)
