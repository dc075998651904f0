"""Response maps of every expression."""

from typing import ClassVar, Literal

from tris_core.params.base import Section


class DumpResponsesParams(Section):
    """Precision of the two towers; responses are stored in float32 either way."""

    key: ClassVar[str] = "dump_responses"

    precision: Literal["fp32", "bf16"]
