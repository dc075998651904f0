"""How predictions are made and judged."""

from typing import ClassVar, Literal

from tris_core.params.base import Section


class EvaluateStep2Params(Section):
    """A pixel belongs to the object where the logit at the image's own size is above `threshold`.

    `box_input`: what the proposals of Acc_box are drawn from, the `binary` mask as released or the `heatmap`.
    """

    key: ClassVar[str] = "evaluate_step2"

    threshold: float
    box_input: Literal["binary", "heatmap"]
    precision: Literal["fp32", "bf16"]
