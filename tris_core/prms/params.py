"""Parameters of PRMS."""

from typing import ClassVar, Literal

from tris_core.runtime.params import Section


class ScorePrmsParams(Section):
    """How a response map masks the image in Eq. 10.

    `mask: relu` masks with the positive response, unbounded, as released; `sigmoid` as in training.
    `mask_fill`: what the scorer sees elsewhere: the `mean` colour, as released, or the picture's
    `blur`; or it sees the `crop` of the box around the positive response, whatever the mask.
    """

    key: ClassVar[str] = "score_prms"

    mask: Literal["relu", "sigmoid"]
    mask_fill: Literal["mean", "blur", "crop"]
