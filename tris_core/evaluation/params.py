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
    """A pixel belongs to the object where the logit at the image's own size is above `threshold`.

    The proposals of Acc_box are drawn from that mask, as released: the logits are not kept, and every metric derives from
    what is. `min_box_fraction`: above 0, every split is reported a second time over the objects alone whose box covers more
    than this share of the image. The release skips ReferIt's test boxes of at most 0.05 (D56).
    """

    key: ClassVar[str] = "evaluate_step2"

    threshold: float
    min_box_fraction: float = Field(ge=0, lt=1)
    precision: Literal["fp32", "bf16"]
