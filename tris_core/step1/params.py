"""Step-1: the response network and its losses."""

from typing import ClassVar, Literal

from pydantic import Field, model_validator

from tris_core.runtime.params import Section
from tris_core.training.params import Group, Training


class Prompt(Group):
    """Eq. 1: `t2v` weights V' by alpha, `v2t` weights L' by beta; a switched-off direction is not computed."""

    t2v: bool
    v2t: bool
    alpha: float = Field(gt=0, le=10)
    beta: float = Field(gt=0, le=10)


class Temperature(Group):
    """tau of Eq. 2. Not learnt in the release, whatever the paper says."""

    init: float = Field(gt=0, le=1)
    learnable: bool


class MaskSize(Group):
    """psi of Eq. 6: (1 - m)^power log(lam + m), m the soft-max share against a constant `background` logit."""

    power: float = Field(ge=0)
    lam: float = Field(gt=0)
    background: float


class ClsNegatives(Group):
    """Negatives of Eq. 7: the other sentences of the batch, or `n` sentences drawn from the data set for every step.

    `exclude_same_image` leaves out sentences about the image itself, which the release counts as negatives.
    """

    source: Literal["batch", "dataset"]
    n: int = Field(ge=0, description="used with source: dataset")
    exclude_same_image: bool


class CalNegatives(Group):
    """K negatives of Eq. 8: sentences of other objects of the image, drawn with replacement.

    `fill: if_none` (released) takes sentences of other images only where the image has no other object; `up_to_k` (paper)
    draws without replacement and fills up whatever is missing.
    """

    k: int = Field(ge=1)
    fill: Literal["if_none", "up_to_k"]


class LossWeights(Group):
    """Weights of Eq. 7 and of the two terms of Eq. 8 (0 switches a term off); S is clamped to [eps, 1 - eps]."""

    cls: float = Field(ge=0)
    pos: float = Field(ge=0)
    neg: float = Field(ge=0)
    neg_reduction: Literal["mean", "sum"]
    eps: float = Field(gt=0, lt=0.5)


class TrainStep1Params(Training):
    """`shuffle_sentences` gives every image another image's sentences: the control that says what is learnt from text."""

    key: ClassVar[str] = "train_step1"

    hidden: int = Field(ge=1)
    prompt: Prompt
    temperature: Temperature
    mask_size: MaskSize
    cls_negatives: ClsNegatives
    cal_negatives: CalNegatives
    loss: LossWeights
    shuffle_sentences: bool


class DumpResponsesParams(Section):
    """What responds to an expression, and the precision of its two towers; responses are stored in float32 either way.

    `method`: `step1`, the trained network, or a baseline that learns nothing, of the backbone that prepare_clip names:
    `dense_clip`, the similarity of its sentence feature to every pixel's value, or `grad_cam` (tris_core/baselines.py).
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
