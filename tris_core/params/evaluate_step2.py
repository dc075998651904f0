"""How predictions are made and judged."""

from typing import ClassVar, Literal

from tris_core.params.base import Section


class EvaluateStep2Params(Section):
    """A pixel belongs to the object where the logit at the image's own size is above `threshold`.

    The proposals of Acc_box are drawn from that mask, as released: the logits are not kept, and every metric derives from
    what is.
    """

    key: ClassVar[str] = "evaluate_step2"

    threshold: float
    precision: Literal["fp32", "bf16"]
