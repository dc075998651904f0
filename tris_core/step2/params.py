"""Parameters of Step-2, the segmentation network."""

from typing import ClassVar, Literal

from pydantic import Field

from tris_core.runtime.params import Precision, Section
from tris_core.training.params import Training


class TrainStep2Params(Training):
    """Network and losses of Step-2.

    `width`: decoder channels at the finest stage. `head_weights`: loss weights of the four heads,
    finest first. `ema: mse` adds the release's consistency term: the squared distance between the
    predictions and those of a running average of the weights.
    """

    key: ClassVar[str] = "train_step2"

    width: int = Field(ge=8, multiple_of=8)
    head_weights: list[float] = Field(min_length=4, max_length=4)
    ema: Literal["none", "mse"]


class PredictStep2Params(Section):
    """A pixel is in the mask if its logit at the image's own size is above `threshold`.

    Only masks are stored, no logits: all metrics of Step-2 derive from masks.
    """

    key: ClassVar[str] = "predict_step2"

    threshold: float
    precision: Precision
