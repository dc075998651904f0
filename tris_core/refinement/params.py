"""From selected response maps to pseudo-labels."""

from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from tris_core.runtime.params import Section


class CrfParams(BaseModel):
    """Of the dense CRF: trust in the mask it starts from, and iterations of mean field."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    gt_prob: float = Field(gt=0.5, lt=1)
    iterations: int = Field(ge=1)


class RefineParams(Section):
    """How a selected map, divided by its maximum, becomes a pseudo-label.

    `method`:

    - `irn`: a random walk over T^(2^exp_times) along the boundaries that IRN found, again divided by the maximum, then
      `threshold` (as released). `radius` in cells of stride 4; `beta` sharpens the affinities.
    - `threshold`: where the map beats `threshold`.
    - `crf`: a dense CRF on the image that starts from there (`crf`).
    - `sam`: the Segment Anything Model in the folder `sam_weights` (as transformers saves it: config.json, model.safetensors,
      preprocessor_config.json), asked with the point of the largest response and the box of what beats `threshold`.

    All but `irn` leave the boundary network untrained.

    `from`: a Parquet file of pseudo-labels made elsewhere (ref_id, height, width, counts, as data/pseudo_labels.parquet has
    them), taken in place of any method. A file changed under the same name needs `dvc repro -f refine`.
    """

    key: ClassVar[str] = "refine"

    method: Literal["threshold", "crf", "irn", "sam"]
    radius: int = Field(ge=2, le=20)
    beta: float = Field(gt=0)
    exp_times: int = Field(ge=0, le=12)
    threshold: float = Field(gt=0, lt=1)
    crf: CrfParams
    sam_weights: str | None = Field(min_length=1)
    source: str | None = Field(alias="from", min_length=1)

    @model_validator(mode="after")
    def _sam_has_weights(self) -> "RefineParams":
        if self.method == "sam" and self.sam_weights is None:
            raise ValueError(
                "method sam needs sam_weights: the folder of a model as transformers saves it"
            )
        return self

    @property
    def instead_of_irn(self) -> str | None:
        """What makes the boundary network unnecessary, None where it is needed."""
        if self.source is not None:
            return f"refine.from is {self.source}"
        return None if self.method == "irn" else f"refine.method is {self.method}"
