"""Parameters that Step-1 and Step-2 share."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from tris_core.runtime.params import Precision, Section


class Group(BaseModel):
    """A nested group of parameters."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Training(Section):
    """AdamW for `steps` batches, or for `epochs` over the refs. One of the two is null.

    A batch has `batch` refs. `share_images` puts the refs of an image into the same batch and
    encodes the image once; in the release every ref brings its image.

    `steps: 0` keeps the initial weights. The backbone (both CLIP towers) learns at
    `lr * backbone_lr_mult`. `schedule: poly` decays the rate per step as (1 - step/steps)^0.9;
    `constant` is what the released Step-2 amounts to. `max_grad_norm` scales a step's gradient down
    to this norm; null, as released, leaves it as it is. `selection: last` keeps the last weights;
    `val_mIoU`, as in the release, those of the epoch with the best masks on the val split, which
    the metrics then mention.

    `precision`: of convolutions and matrix products. `tf32` is `fp32` on a CPU. Eq. 2 is computed
    in float32 under each.

    `weights`: use a network trained elsewhere instead of training one. A model folder, or a
    checkpoint file as the authors released it (a path or hf://owner/repo/file). If a file changed
    under the same name, run `dvc repro -f` with the name of the stage.
    """

    weights: str | None = Field(min_length=1)
    seed: int = Field(ge=0, lt=2**32)
    steps: int | None = Field(ge=0)
    epochs: int | None = Field(ge=0)
    batch: int = Field(ge=2)
    share_images: bool
    lr: float = Field(gt=0, le=1)
    backbone_lr_mult: float = Field(ge=0, le=10)
    weight_decay: float = Field(ge=0, le=1)
    schedule: Literal["poly", "constant"]
    max_grad_norm: float | None = Field(gt=0)
    precision: Precision
    selection: Literal["last", "val_mIoU"]

    @model_validator(mode="after")
    def one_length(self) -> "Training":
        if (self.steps is None) == (self.epochs is None):
            raise ValueError("give either steps or epochs and set the other to null")
        return self

    def steps_per_epoch(self, n_refs: int) -> int:
        """Batches of an epoch: every ref once, without an incomplete last batch."""
        return max(1, n_refs // self.batch)

    def total_steps(self, n_refs: int) -> int:
        """Length of the training in batches."""
        if self.steps is not None:
            return self.steps
        return (self.epochs or 0) * self.steps_per_epoch(n_refs)
