"""What `config.json` may hold: of a CLIP, and of the networks in model folders. Every number is bounded.

Such a file may come from anybody, and it decides how much memory a network takes. What it describes is built on the meta
device first and compared with the weights beside it (`tris_core.weights.fitting`); the bounds here keep that step, the
network's input and its text small.
"""

import re
import reprlib
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from tris_core.runtime.errors import InputError

MAX_LAYERS = 100  # of a tower; the deepest of open_clip's own have 56 and 64
MAX_GRID = 128  # patches along a ViT's side: attention takes the fourth power of it
MAX_SIZE = 2048  # side of an input square in pixels
WHOLE_VOCABULARY = 49408
SPECIAL = 4  # rows of a pruned vocabulary beside its words: padding, unknown, start, end
TEXT_KEYS = ("context_length", "vocab_size", "width", "heads", "layers")

Width = Annotated[int, Field(ge=1, le=1 << 16)]
Weight = Annotated[float, Field(ge=0, le=10)]
Scalar = (
    bool | Annotated[float, Field(ge=-1e4, le=1e4)] | Annotated[str, Field(max_length=100)] | None
)


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class VisionConfig(_Part):
    """An image tower: a ResNet where `layers` is a list, a ViT where it is a number, timm's where that is named."""

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
                f"{self.image_size} pixels in patches of {self.patch_size}: expected 1 to {MAX_GRID} a side"
            )
        return self


class TextConfig(_Part):
    """CLIP's own text tower."""

    context_length: int = Field(ge=2, le=1024)
    vocab_size: int = Field(ge=SPECIAL + 1, le=WHOLE_VOCABULARY)
    width: Width
    heads: int = Field(ge=1, le=1024)
    layers: int = Field(ge=1, le=MAX_LAYERS)

    @model_validator(mode="before")
    @classmethod
    def clips_own(cls, value: Any) -> Any:
        if isinstance(value, dict) and (beyond := sorted(value.keys() - set(TEXT_KEYS))):
            raise ValueError(f"the text tower is not CLIP's own ({', '.join(beyond)})")
        return value

    @model_validator(mode="after")
    def heads_of_equal_width(self) -> "TextConfig":
        if self.width % self.heads:
            raise ValueError(f"a width of {self.width} cannot be shared by {self.heads} heads")
        return self


class ClipConfig(_Part):
    """A CLIP's configuration, as open_clip names its parts. `mean` and `std` say how pictures were normalised."""

    embed_dim: Width
    vision_cfg: VisionConfig
    text_cfg: TextConfig
    quick_gelu: bool
    mean: list[float] | None = None
    std: list[float] | None = None


class ClipDescription(_Part):
    """What `describe_clip` gives. `vocabulary` are the BPE ids that kept an embedding, None for all of them."""

    name: str | None = None
    weights: str | None = None
    sha256: str | None = None
    imagenet: dict[str, str] | None = None
    config: ClipConfig
    vocabulary: (
        Annotated[
            list[Annotated[int, Field(ge=0, lt=WHOLE_VOCABULARY)]],
            Field(max_length=WHOLE_VOCABULARY),
        ]
        | None
    )

    @model_validator(mode="after")
    def a_row_for_every_word(self) -> "ClipDescription":
        words, rows = self.vocabulary, self.config.text_cfg.vocab_size
        if words is not None and len(set(words)) < len(words):
            raise ValueError("the vocabulary holds an id twice")
        if rows != (needed := WHOLE_VOCABULARY if words is None else len(words) + SPECIAL):
            raise ValueError(f"text_cfg.vocab_size is {rows}, but the vocabulary needs {needed}")
        return self


class Text(_Part):
    """How sentences are tokenized: at most `max_tokens`, start and end included."""

    max_tokens: int = Field(ge=4)
    overflow: Literal["cut", "keep_eot"]


class _Folder(_Part):
    network: ClassVar[str]
    clip: ClipDescription
    source: dict[str, Any] | None = None
    weights_sha256: str | None = None


class _Network(_Folder):
    text: Text
    size: int = Field(ge=32, le=MAX_SIZE)

    @model_validator(mode="after")
    def parts_that_fit(self) -> "_Network":
        vision, context = self.clip.config.vision_cfg, self.clip.config.text_cfg.context_length
        if self.text.max_tokens > context:
            raise ValueError(
                f"text.max_tokens is {self.text.max_tokens}, but its CLIP reads {context} at most"
            )
        if vision.is_vit and vision.image_size != self.size:
            raise ValueError(f"size is {self.size}, but its ViT is for {vision.image_size}")
        return self


class Step1Model(_Part):
    visual_channels: Width
    text_channels: Width
    hidden: Width
    alpha: Weight
    beta: Weight
    temperature: float = Field(gt=0)
    learn_temperature: bool


class Step2Model(_Part):
    stage_channels: Annotated[list[Width], Field(min_length=4, max_length=4)]
    text_width: Width
    width: int = Field(ge=2, le=1 << 12)


class IrnModel(_Part):
    channels: Annotated[list[Width], Field(min_length=5, max_length=5)]


class Step1Folder(_Network):
    network: ClassVar[str] = "Step-1"
    model: Step1Model


class Step2Folder(_Network):
    network: ClassVar[str] = "Step-2"
    model: Step2Model


class IrnFolder(_Folder):
    network: ClassVar[str] = "the boundary network"
    model: IrnModel


_BY_KEY: dict[str, type[_Folder]] = {
    "hidden": Step1Folder,
    "stage_channels": Step2Folder,
    "channels": IrnFolder,
}


def network_of(config: dict[str, Any], path: Path) -> str:
    """Check the content of a model folder's `config.json`, and say whose it is: Step-1, Step-2 or the boundary network.

    Raises `InputError` that names `path`, the first key at fault and its value.
    """
    model = config.get("model")
    kinds = [kind for key, kind in _BY_KEY.items() if isinstance(model, dict) and key in model]
    if len(kinds) != 1:
        raise InputError(
            f"{path}: `model` is of no network of TRIS; expected hidden, stage_channels or channels in it"
        )
    check(kinds[0], config, str(path), "train the model again, or copy its folder again")
    return kinds[0].network


def check(kind: type[BaseModel], content: Any, where: str, fix: str) -> None:
    """Raises `InputError` that names `where`, the first key at fault, its value and the fix."""
    try:
        kind.model_validate(content)
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        key = ".".join(
            str(part) for part in fault["loc"] if re.fullmatch(r"\w+", str(part))
        )  # not the parts of a union
        value = (
            "" if isinstance(fault["input"], dict) else f" = {reprlib.repr(fault['input'])[:100]}"
        )
        message = fault["msg"].removeprefix("Value error, ")
        place = f"{key}{value}: " if key else ""
        raise InputError(f"{where}: {place}{message}; {fix}") from error
