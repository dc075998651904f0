"""From selected response maps to pseudo-labels."""

from typing import ClassVar

from pydantic import Field

from tris_core.params.base import Section


class RefineParams(Section):
    """Random walk of every selected map over T^(2^exp_times), then a threshold on the map divided by its maximum.

    `radius` in cells of stride 4; `beta` sharpens the affinities.

    `from`: a Parquet file of pseudo-labels made elsewhere (ref_id, height, width, counts, as data/pseudo_labels.parquet has
    them), taken instead; the boundary network is then not trained. A file changed under the same name needs
    `dvc repro -f refine`.
    """

    key: ClassVar[str] = "refine"

    radius: int = Field(ge=2, le=20)
    beta: float = Field(gt=0)
    exp_times: int = Field(ge=0, le=12)
    threshold: float = Field(gt=0, lt=1)
    source: str | None = Field(alias="from", min_length=1)
