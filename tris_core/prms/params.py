"""Parameters of PRMS."""

from typing import ClassVar, Literal

from tris_core.runtime.params import Section


class ScorePrmsParams(Section):
    """How a response map masks the image in Eq. 10.

    `mask: relu` masks with the positive response, unbounded, as released; `sigmoid` as in training.
    """

    key: ClassVar[str] = "score_prms"

    mask: Literal["relu", "sigmoid"]
