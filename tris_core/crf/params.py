"""Seeds of the boundary network."""

from typing import ClassVar

from pydantic import Field

from tris_core.runtime.params import Section


class CrfSeedsParams(Section):
    """Dense CRF seeds: foreground where the normalised response beats `conf_fg`, background where it stays under `conf_bg`.

    `gt_prob` is the trust in the input. `resolution`: the CRF runs on image and map scaled by this factor (1 as released); its
    time grows with the square.
    """

    key: ClassVar[str] = "crf_seeds"

    resolution: float = Field(gt=0, le=1)
    conf_fg: float = Field(gt=0, lt=1)
    conf_bg: float = Field(gt=0, lt=1)
    gt_prob: float = Field(gt=0.5, lt=1)
    iterations: int = Field(ge=1)
