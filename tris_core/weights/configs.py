"""Descriptions of trained networks: the types of `config.json` in model folders.

They validate and become JSON as those of `tris_core.weights.clip_spec` do.
"""

from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from tris_core.runtime.errors import InputError
from tris_core.weights.clip_spec import (
    MAX_SIZE,
    ClipSpec,
    ImagenetFile,
    Part,
    Text,
    Width,
    validated,
)

Weight = Annotated[float, Field(ge=0, le=10)]
Number = int | float | None


class OptimizerGroup(Part):
    """What a released checkpoint tells of one parameter group."""

    lr: Number
    initial_lr: Number
    weight_decay: Number
    tensors: int


class Found(Part):
    """What a released checkpoint tells beside its weights."""

    temperature: float | None
    optimizer: list[OptimizerGroup]
    epoch: Number


class Source(Part):
    """Where weights come from that were not trained here."""

    file: str
    sha256: str
    found: Found | None = None


class Step1Model(Part):
    """The network of Step-1: what `train_step1` says of it.

    `visual_channels` and `text_channels` are those of its CLIP's last map and sentence feature,
    `hidden` is C_d; `alpha` and `beta` of Eq. 1 are 0 without the residual. A model from before
    `softmax` and `projection` of the prompt were parameters has the released ones.
    """

    visual_channels: Width
    text_channels: Width
    hidden: Width
    alpha: Weight
    beta: Weight
    softmax: Literal["texts", "space"] = "texts"
    projection: Literal["released", "plain"] = "released"
    temperature: float = Field(gt=0)
    learn_temperature: bool


class Step2Model(Part):
    """The arguments of `Step2`."""

    stage_channels: Annotated[list[Width], Field(min_length=4, max_length=4)]
    text_width: Width
    width: int = Field(ge=2, le=1 << 12)


class IrnModel(Part):
    """The arguments of `IRN`."""

    channels: Annotated[list[Width], Field(min_length=5, max_length=5)]


class ModelConfig(Part):
    """`config.json` of a model folder: all that rebuilds the network.

    `text` and `size`, the side of the input square, are those of Step-1 and Step-2. `source` says
    where weights come from that were not trained here, `weights_sha256` is the SHA-256 of
    `model.safetensors`.
    """

    network: ClassVar[str]

    clip: ClipSpec
    text: Text | None = None
    size: int | None = None
    model: Step1Model | Step2Model | IrnModel
    source: Source | None = None
    weights_sha256: str | None = None


class _StepConfig(ModelConfig):
    text: Text
    size: int = Field(ge=32, le=MAX_SIZE)

    @model_validator(mode="after")
    def parts_that_fit(self) -> "_StepConfig":
        if self.text.max_tokens > self.clip.context_length:
            raise ValueError(
                f"text.max_tokens is {self.text.max_tokens}, "
                f"but its CLIP reads {self.clip.context_length} at most"
            )
        if self.clip.config.vision_cfg.is_vit and self.clip.image_size != self.size:
            raise ValueError(f"size is {self.size}, but its ViT is for {self.clip.image_size}")
        return self


class Step1Config(_StepConfig):
    network: ClassVar[str] = "Step-1"
    model: Step1Model


class Step2Config(_StepConfig):
    network: ClassVar[str] = "Step-2"
    model: Step2Model


class IrnConfig(ModelConfig):
    """The boundary network reads the ResNet-50 `imagenet`, or the image tower of `clip`."""

    network: ClassVar[str] = "the boundary network"
    text: None = None
    size: None = None
    imagenet: ImagenetFile | None = None
    model: IrnModel


_BY_KEY: dict[str, type[ModelConfig]] = {
    "hidden": Step1Config,
    "stage_channels": Step2Config,
    "channels": IrnConfig,
}


def model_config(content: dict[str, Any], path: Path) -> ModelConfig:
    """The content of a `config.json` as the configuration of the network it is of.

    Raises `InputError` that names `path`, the first wrong key and its value.
    """
    model = content.get("model")
    kinds = [kind for key, kind in _BY_KEY.items() if isinstance(model, dict) and key in model]
    if len(kinds) != 1:
        raise InputError(
            f"{path}: `model` is of no network of TRIS; "
            "expected hidden, stage_channels or channels in it"
        )
    fix = "train the model again, or copy its folder again"
    return validated(kinds[0], content, str(path), fix)
