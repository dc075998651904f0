"""The two CLIPs of the method and the text they read."""

from typing import ClassVar, Literal

from pydantic import Field

from tris_core.params.base import Section


class PrepareClipParams(Section):
    """`backbone` initialises Step-1 and Step-2, `scorer` is the frozen CLIP of Eq. 9; each is `demo` or a CLIP folder.

    Sentences have `max_tokens` tokens with start and end; longer ones lose their end (`overflow: keep_eot` keeps the end
    token, `cut` loses it, as released).
    """

    key: ClassVar[str] = "prepare_clip"

    backbone: str = Field(min_length=1)
    scorer: str = Field(min_length=1)
    max_tokens: int = Field(ge=4, le=77)
    overflow: Literal["cut", "keep_eot"]
