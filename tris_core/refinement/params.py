"""From selected response maps to pseudo-labels."""

from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from tris_core.crf.params import Filters
from tris_core.runtime.params import Section


class CrfParams(BaseModel):
    """The dense CRF of the method `crf`.

    `gt_prob`: the probability that a pixel of the starting mask is right.

    `iterations`: of mean field.

    `filters`: as in crf_seeds.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    gt_prob: float = Field(gt=0.5, lt=1)
    iterations: int = Field(ge=1)
    filters: Filters


class RefineParams(Section):
    """How a selected map, divided by its maximum, becomes a pseudo-label.

    `method`:

    - `irn`: a random walk along the boundaries that IRN found, as released
      (docs/paper_vs_code.md#irn). The walk takes 2^`exp_times` steps, over cells of stride 4 within
      `radius`, weighted by affinity^`beta`. The result, divided by its maximum, is compared with
      `threshold`.
    - `threshold`: response > `threshold`.
    - `crf`: a dense CRF on the image (`crf`) that starts from response > `threshold`.
    - `sam`: the Segment Anything Model. Its prompts are the point of the largest response and the
      box of response > `threshold`. `sam_weights` is a folder as transformers saves it:
      config.json, model.safetensors, preprocessor_config.json.

    Only `irn` trains the boundary network.

    `from`: a Parquet file of pseudo-labels made elsewhere, with the columns of
    data/pseudo_labels.parquet (ref_id, height, width, counts), used instead of any method. If the
    file changes, run `dvc repro -f refine`.
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
            needed = "the folder of a model as transformers saves it"
            raise ValueError(f"method sam needs sam_weights: {needed}")
        return self

    @property
    def instead_of_irn(self) -> str | None:
        """Why the boundary network is not needed; None if it is."""
        if self.source is not None:
            return f"refine.from is {self.source}"
        return None if self.method == "irn" else f"refine.method is {self.method}"
