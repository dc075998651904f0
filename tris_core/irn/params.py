"""Parameters of the boundary network."""

from typing import ClassVar, Literal

from pydantic import Field

from tris_core.runtime.params import Section


class TrainIrnParams(Section):
    """SGD on random crops of `crop` pixels, rescaled by `scale_min` to `scale_max` and mirrored.

    `backbone` is the frozen network that is read: `imagenet`, the release's ResNet-50, from
    `prepare_clip.imagenet_weights`; or `clip`, the image tower of `prepare_clip.backbone`. `refine`
    reads the same.

    The displacement branch learns at `10 * lr`. `momentum` is 1e-4 in the release, by accident.
    `radius`: pairs of pixels within it are compared, in cells of stride 4.
    """

    key: ClassVar[str] = "train_irn"

    backbone: Literal["clip", "imagenet"]
    seed: int = Field(ge=0, lt=2**32)
    epochs: int = Field(ge=0)
    batch: int = Field(ge=1)
    crop: int = Field(ge=64, multiple_of=16)
    scale_min: float = Field(gt=0)
    scale_max: float = Field(gt=0)
    lr: float = Field(gt=0)
    weight_decay: float = Field(ge=0)
    momentum: float = Field(ge=0, lt=1)
    radius: int = Field(ge=2, le=20)
