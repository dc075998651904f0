"""Response maps of every expression."""

from typing import ClassVar, Literal

from pydantic import Field

from tris_core.params.base import Section


class DumpResponsesParams(Section):
    """Precision of the two towers; responses are stored in float32 either way.

    `from`: a Parquet file of responses made elsewhere (expression_id, height, width, map, as data/responses.parquet has
    them), taken instead; Step-1 is then not trained. A file changed under the same name needs `dvc repro -f dump_responses`.
    """

    key: ClassVar[str] = "dump_responses"

    precision: Literal["fp32", "bf16"]
    source: str | None = Field(alias="from", min_length=1)
