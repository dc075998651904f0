"""Response maps of every expression."""

from typing import ClassVar, Literal

from pydantic import Field, model_validator

from tris_core.params.base import Section


class DumpResponsesParams(Section):
    """What responds to an expression, and the precision of its two towers; responses are stored in float32 either way.

    `method`: `step1`, the trained network, or a baseline that learns nothing, of the backbone that prepare_clip names:
    `dense_clip`, the similarity of its sentence feature to every pixel's value, or `grad_cam` (tris_core/models/baselines.py).
    Step-1 is then not trained.

    `from`: a Parquet file of responses made elsewhere (expression_id, height, width, map, as data/responses.parquet has
    them), taken instead; Step-1 is then not trained. A file changed under the same name needs `dvc repro -f dump_responses`.
    """

    key: ClassVar[str] = "dump_responses"

    method: Literal["step1", "dense_clip", "grad_cam"]
    precision: Literal["fp32", "bf16"]
    source: str | None = Field(alias="from", min_length=1)

    @model_validator(mode="after")
    def _one_origin(self) -> "DumpResponsesParams":
        if self.source is not None and self.method != "step1":
            raise ValueError(
                f"`from` takes the place of method {self.method}; set one of them back (method: step1, from: null)"
            )
        return self

    @property
    def instead_of_step1(self) -> str | None:
        """What makes Step-1 unnecessary, None where it is needed."""
        if self.source is not None:
            return f"dump_responses.from is {self.source}"
        return None if self.method == "step1" else f"dump_responses.method is {self.method}"
