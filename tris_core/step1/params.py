"""Parameters of Step-1: the response network and its losses."""

from typing import ClassVar, Literal

from pydantic import Field, model_validator

from tris_core.runtime.params import Precision, Section
from tris_core.training.params import Group, Training


class Prompt(Group):
    """Residuals of Eq. 1: `t2v` adds alpha V', `v2t` adds beta L'. `false` drops a residual.

    `softmax`: in V', positions gather from all `texts` scored on the image, as released, so a
    sentence's response depends on the others; or the soft-max is over `space`, one text at a time,
    as Eq. 3-5 say. `projection`: the layers are as `released`, with instance norm, ReLU and an
    output layer, or `plain` matrices, as in Eq. 3-5. See docs/paper_vs_code.md#prompt.
    """

    t2v: bool
    v2t: bool
    alpha: float = Field(gt=0, le=10)
    beta: float = Field(gt=0, le=10)
    softmax: Literal["texts", "space"]
    projection: Literal["released", "plain"]


class Temperature(Group):
    """tau of Eq. 2. The release does not learn it, see docs/paper_vs_code.md#temperature."""

    init: float = Field(gt=0, le=1)
    learnable: bool


class MaskSize(Group):
    """psi of Eq. 6: (1 - m)^power log(lam + m).

    m is the share of the image in a soft-max against a constant `background` logit.
    """

    power: float = Field(ge=0)
    lam: float = Field(gt=0)
    background: float


class ClsNegatives(Group):
    """Negatives of Eq. 7: the other sentences of the batch, or `n` per image from the data set.

    With `source: dataset`, each image draws its own `n` among the batch's other sentences and
    max(n, 47) more of the step, without replacement.

    The release counts as negatives what these leave out: `exclude_same_image`, sentences about
    other objects of the image; `exclude_duplicates`, sentences that equal the image's own to the
    letter. They stay in psi of Eq. 6 and in the prompt's context, see
    docs/paper_vs_code.md#negatives.
    """

    source: Literal["batch", "dataset"]
    n: int = Field(ge=0, description="used with source: dataset")
    exclude_same_image: bool
    exclude_duplicates: bool


class CalNegatives(Group):
    """K negatives of Eq. 8: sentences of other objects of the image.

    `fill: if_none` (released) draws with replacement, and from other images only if the image has
    no other object. `up_to_k` (paper) draws without replacement and fills up from other images.
    """

    k: int = Field(ge=1)
    fill: Literal["if_none", "up_to_k"]


class LossWeights(Group):
    """Weights of Eq. 7 and of the two terms of Eq. 8; 0 switches a term off.

    S is clamped to [eps, 1 - eps].
    """

    cls: float = Field(ge=0)
    pos: float = Field(ge=0)
    neg: float = Field(ge=0)
    neg_reduction: Literal["mean", "sum"]
    eps: float = Field(gt=0, lt=0.5)


class TrainStep1Params(Training):
    """Network and losses of Step-1.

    `mask_fill`: what the scorer of Eq. 9 sees where a response masks the image: its `mean` colour,
    as released, or the picture's `blur`. A crop, which score_prms has, passes no gradient.

    `shuffle_sentences` gives every image the sentences of another one: a control that shows how
    much is learnt from text.
    """

    key: ClassVar[str] = "train_step1"

    hidden: int = Field(ge=1)
    prompt: Prompt
    temperature: Temperature
    mask_size: MaskSize
    cls_negatives: ClsNegatives
    cal_negatives: CalNegatives
    loss: LossWeights
    mask_fill: Literal["mean", "blur"]
    shuffle_sentences: bool


class DumpResponsesParams(Section):
    """What computes the response maps. They are stored in float32 whatever the `precision`.

    `method`: `step1`, the trained network, or a baseline that uses the backbone of prepare_clip
    without training: `dense_clip`, the similarity of the sentence feature to every pixel's value,
    or `grad_cam` (tris_core/baselines.py). Step-1 is then not trained.

    `from`: a Parquet file of responses made elsewhere (expression_id, height, width, map, as in
    data/responses.parquet) to use instead. Step-1 is then not trained. If a file changed under the
    same name, run `dvc repro -f dump_responses`.
    """

    key: ClassVar[str] = "dump_responses"

    method: Literal["step1", "dense_clip", "grad_cam"]
    precision: Precision
    source: str | None = Field(alias="from", min_length=1)

    @model_validator(mode="after")
    def _one_origin(self) -> "DumpResponsesParams":
        if self.source is not None and self.method != "step1":
            raise ValueError(
                f"`from` replaces method {self.method}; reset one of them "
                "(method: step1, from: null)"
            )
        return self

    @property
    def instead_of_step1(self) -> str | None:
        """Why Step-1 is not needed, or None if it is."""
        if self.source is not None:
            return f"dump_responses.from is {self.source}"
        return None if self.method == "step1" else f"dump_responses.method is {self.method}"
