"""Step-2: the segmentation network."""

from typing import ClassVar

from pydantic import Field

from tris_core.params.optim import Training


class TrainStep2Params(Training):
    """`width`: decoder channels at the finest stage; `head_weights`: loss weights of the four heads, finest first."""

    key: ClassVar[str] = "train_step2"

    width: int = Field(ge=8, multiple_of=8)
    head_weights: list[float] = Field(min_length=4, max_length=4)
