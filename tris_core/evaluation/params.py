"""How response maps and predictions are evaluated."""

from typing import ClassVar, Literal

from pydantic import Field

from tris_core.runtime.params import Section


class EvaluateStep1Params(Section):
    """Evaluation of the response maps.

    `threshold`: a pixel is foreground if its response, divided by the maximum, is above it.

    `box_input`: what Acc_box proposes boxes from, the `binary` mask (as released) or the
    `heatmap`.

    `min_box_fraction`: if above 0, every split is also reported for the objects whose box covers
    more than this share of the image. The release leaves out ReferIt's test boxes of at most 0.05
    (docs/paper_vs_code.md#box-filter).
    """

    key: ClassVar[str] = "evaluate_step1"

    threshold: float = Field(ge=0, lt=1)
    box_input: Literal["binary", "heatmap"]
    min_box_fraction: float = Field(ge=0, lt=1)


class EvaluateStep2Params(Section):
    """Evaluation of the predicted masks. Acc_box proposes boxes from the masks, as released.

    `min_box_fraction`: as in `evaluate_step1`.
    """

    key: ClassVar[str] = "evaluate_step2"

    min_box_fraction: float = Field(ge=0, lt=1)
