"""Descriptions of CLIPs: the types of `models/clip.json`.

Validation and use share these types. They become JSON only at the edge: `content()` gives what
to write, with the keys that were set, in the order of the fields.

Such a file may come from anybody, and it decides how much memory a network takes, so every
number is bounded. The network is built on the meta device first and compared with its weights
(`tris_core.weights.fitting`); these bounds keep that step small.
"""

import re
import reprlib
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from tris_core.runtime.errors import InputError
from tris_core.runtime.files import read_sealed_json

MAX_LAYERS = 100  # of a tower; the deepest of open_clip's own have 56 and 64
MAX_GRID = 128  # patches along a ViT's side: attention grows with its fourth power
MAX_SIZE = 2048  # side of an input square in pixels
WHOLE_VOCABULARY = 49408
SPECIAL = 4  # rows of a pruned vocabulary beside its words: padding, unknown, start, end

Width = Annotated[int, Field(ge=1, le=1 << 16)]
Scalar = (
    bool
    | Annotated[int, Field(ge=-10_000, le=10_000)]
    | Annotated[float, Field(ge=-1e4, le=1e4)]
    | Annotated[str, Field(max_length=100)]
    | None
)


class Part(BaseModel):
    """A frozen, strict part of a description."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    def content(self) -> dict[str, Any]:
        """The JSON object: the keys that were set, in the order of the fields."""
        return self.model_dump(exclude_unset=True)


P = TypeVar("P", bound=Part)


class VisionConfig(Part):
    """An image tower: timm's if one is named, a ResNet if `layers` is a list, else a ViT."""

    model_config = ConfigDict(frozen=True, extra="allow", strict=True, allow_inf_nan=False)
    __pydantic_extra__: dict[str, Scalar]

    layers: (
        Annotated[int, Field(ge=1)]
        | Annotated[list[Annotated[int, Field(ge=1)]], Field(min_length=4, max_length=4)]
    ) = 12
    width: Width = 768
    head_width: Width = 64
    mlp_ratio: float = Field(default=4.0, gt=0, le=16)
    patch_size: Annotated[int, Field(ge=1, le=MAX_SIZE)] | None = 16
    image_size: int = Field(ge=1, le=MAX_SIZE)
    timm_model_name: str | None = None

    @property
    def is_vit(self) -> bool:
        return self.timm_model_name is None and isinstance(self.layers, int)

    @field_validator("layers")
    @classmethod
    def not_too_deep(cls, layers: int | list[int]) -> int | list[int]:
        if (total := layers if isinstance(layers, int) else sum(layers)) > MAX_LAYERS:
            raise ValueError(f"{total} layers are more than {MAX_LAYERS}")
        return layers

    @field_validator("timm_model_name")
    @classmethod
    def timms_own(cls, name: str | None) -> str | None:
        if name is not None and not re.fullmatch(r"[\w.]+", name):  # or timm would download
            raise ValueError(f"{name!r} is no model of timm's own")
        return name

    @model_validator(mode="after")
    def a_grid_of_patches(self) -> "VisionConfig":
        if self.is_vit and not 1 <= self.image_size // (self.patch_size or MAX_SIZE) <= MAX_GRID:
            raise ValueError(
                f"{self.image_size} pixels in patches of {self.patch_size}: "
                f"expected 1 to {MAX_GRID} a side"
            )
        return self


class TextConfig(Part):
    """CLIP's own text tower."""

    context_length: int = Field(ge=2, le=1024)
    width: Width
    heads: int = Field(ge=1, le=1024)
    layers: int = Field(ge=1, le=MAX_LAYERS)
    vocab_size: int = Field(ge=SPECIAL + 1, le=WHOLE_VOCABULARY)

    @model_validator(mode="before")
    @classmethod
    def clips_own(cls, value: Any) -> Any:
        if isinstance(value, dict) and (beyond := sorted(value.keys() - set(cls.model_fields))):
            raise ValueError(f"the text tower is not CLIP's own ({', '.join(beyond)})")
        return value

    @model_validator(mode="after")
    def heads_of_equal_width(self) -> "TextConfig":
        if self.width % self.heads:
            raise ValueError(f"a width of {self.width} cannot be shared by {self.heads} heads")
        return self


class ClipConfig(Part):
    """A CLIP's architecture, in open_clip's terms.

    `mean` and `std` say how its training pictures were normalised.
    """

    embed_dim: Width
    vision_cfg: VisionConfig
    text_cfg: TextConfig
    quick_gelu: bool
    mean: list[float] | None = None
    std: list[float] | None = None


class ImagenetFile(Part):
    """A file of ImageNet weights (`tris_core.clip.imagenet`), and its SHA-256."""

    file: str
    sha256: str


Three = Annotated[list[float], Field(min_length=3, max_length=3)]


class PixelStatistics(Part):
    """Mean and standard deviation of RGB values in [0, 1]."""

    mean: Three
    std: Annotated[list[Annotated[float, Field(gt=0)]], Field(min_length=3, max_length=3)]


class ClipSpec(Part):
    """One CLIP: its name, its weights, its architecture and its vocabulary.

    `sha256` is that of the file of weights, None for random ones. `imagenet` replaces the stages
    of its image tower. `vocabulary` holds the BPE ids that kept an embedding, None for all of them.
    `normalise` is what its pictures are normalised with here, None for ImageNet's.
    """

    name: str = ""
    weights: str | None = None
    sha256: str | None = None
    imagenet: ImagenetFile | None = None
    config: ClipConfig
    vocabulary: (
        Annotated[
            list[Annotated[int, Field(ge=0, lt=WHOLE_VOCABULARY)]],
            Field(max_length=WHOLE_VOCABULARY),
        ]
        | None
    )
    normalise: PixelStatistics | None = None

    @property
    def pixels(self) -> tuple[list[float], list[float]] | None:
        """Mean and deviation that its pictures are normalised with; None for ImageNet's."""
        return None if self.normalise is None else (self.normalise.mean, self.normalise.std)

    @property
    def image_size(self) -> int:
        """Side in pixels of the square that its image tower takes."""
        return self.config.vision_cfg.image_size

    @property
    def text_width(self) -> int:
        """Channels of a word feature."""
        return self.config.text_cfg.width

    @property
    def context_length(self) -> int:
        """Tokens that its text tower reads at most."""
        return self.config.text_cfg.context_length

    def with_own_tower(self) -> "ClipSpec":
        """The CLIP without `imagenet`: that is for Step-1 alone (Table 2, "Ours*")."""
        return self.model_copy(update={"imagenet": None})

    @model_validator(mode="after")
    def a_row_for_every_word(self) -> "ClipSpec":
        words, rows = self.vocabulary, self.config.text_cfg.vocab_size
        if words is not None and len(set(words)) < len(words):
            raise ValueError("the vocabulary holds an id twice")
        if rows != (needed := WHOLE_VOCABULARY if words is None else len(words) + SPECIAL):
            raise ValueError(f"text_cfg.vocab_size is {rows}, but the vocabulary needs {needed}")
        return self


class Text(Part):
    """How sentences become tokens: at most `max_tokens`, start and end included."""

    max_tokens: int = Field(ge=4)
    overflow: Literal["cut", "keep_eot"]


class ClipPair(Part):
    """`models/clip.json`: the CLIP that initialises the networks, and the frozen one of Eq. 9.

    `imagenet` is the file that `prepare_clip.imagenet_weights` names, if any.
    """

    backbone: ClipSpec
    scorer: ClipSpec
    text: Text
    imagenet: ImagenetFile | None = None

    @classmethod
    def read(cls, path: Path) -> "ClipPair":
        """The pair that `prepare_clip` wrote. Raises `InputError` for a damaged or changed file."""
        fix = "make it again (`dvc repro -f prepare_clip`)"
        return validated(cls, read_sealed_json(path, fix), str(path), fix)


def validated(kind: type[P], content: Any, where: str, fix: str) -> P:
    """`content` as a `kind`.

    Raises `InputError` that names `where`, the first wrong key, its value and the fix.
    """
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        names = [str(part) for part in fault["loc"]]
        key = ".".join(name for name in names if re.fullmatch(r"\w+", name))  # not union members
        shown = reprlib.repr(fault["input"])[:100]
        value = "" if isinstance(fault["input"], dict) else f" = {shown}"
        message = fault["msg"].removeprefix("Value error, ")
        place = f"{key}{value}: " if key else ""
        raise InputError(f"{where}: {place}{message}; {fix}") from error
