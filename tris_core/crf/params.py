"""The seeds of the boundary network."""

from typing import ClassVar, Literal

from pydantic import Field

from tris_core.runtime.params import Section

Filters = Literal["lattice", "exact"]


class CrfSeedsParams(Section):
    """Seeds from a dense CRF (docs/paper_vs_code.md#crf).

    `conf_fg` and `conf_bg`: the CRF starts once from response > `conf_fg` and once from
    response > `conf_bg`. The response is divided by its maximum.

    `gt_prob`: the probability that a pixel of the starting mask is right.

    `iterations`: of mean field.

    `resolution`: scales the image and the map for the CRF; 1 as released. Time grows with its
    square.

    `filters`: `lattice`, pydensecrf's, as released: approximate, on CPU cores. `exact`: the kernels
    themselves, for a GPU; time grows with the fourth power of `resolution`, and on a CPU an image
    takes minutes.
    """

    key: ClassVar[str] = "crf_seeds"

    resolution: float = Field(gt=0, le=1)
    conf_fg: float = Field(gt=0, lt=1)
    conf_bg: float = Field(gt=0, lt=1)
    gt_prob: float = Field(gt=0.5, lt=1)
    iterations: int = Field(ge=1)
    filters: Filters
