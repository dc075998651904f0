"""Step-1: the response network and its losses."""

from typing import ClassVar, Literal

from pydantic import Field

from tris_core.params.optim import Group, Training


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
