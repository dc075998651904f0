"""How response maps are judged."""

from typing import ClassVar, Literal

from pydantic import Field

from tris_core.runtime.params import Section


class EvaluateStep1Params(Section):
    """A pixel belongs to the object where the response, divided by its maximum, is above `threshold`.

    `box_input`: what the proposals of Acc_box are drawn from, the `binary` mask as released or the `heatmap`.
    `min_box_fraction`: above 0, every split is reported a second time over the objects alone whose box covers more than
    this share of the image. The release skips ReferIt's test boxes of at most 0.05 (D56).
    """

    key: ClassVar[str] = "evaluate_step1"

    threshold: float = Field(ge=0, lt=1)
    box_input: Literal["binary", "heatmap"]
    min_box_fraction: float = Field(ge=0, lt=1)


class EvaluateStep2Params(Section):
    """Proposals of Acc_box come from the stored masks, as released.

    `min_box_fraction`: as in `evaluate_step1`.
    """

    key: ClassVar[str] = "evaluate_step2"

    min_box_fraction: float = Field(ge=0, lt=1)
