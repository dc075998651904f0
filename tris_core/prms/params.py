"""Positive response map selection."""

from typing import ClassVar, Literal

from tris_core.runtime.params import Section


class ScorePrmsParams(Section):
    """`mask`: how a response map masks the image in Eq. 10, `relu` (un-normalised, as released) or `sigmoid`."""

    key: ClassVar[str] = "score_prms"

    mask: Literal["relu", "sigmoid"]
