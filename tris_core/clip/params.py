"""The two CLIPs of the method and the text they read."""

from typing import ClassVar, Literal

from pydantic import Field, model_validator

from tris_core.runtime.params import Section


class PrepareClipParams(Section):
    """`backbone` initialises Step-1 and Step-2; `scorer` is the frozen CLIP of Eq. 9.

    Each is `demo`, a CLIP folder, or an open_clip model name (the paper's: RN50-quickgelu and
    ViT-B-32-quickgelu). A model name needs `backbone_weights` or `scorer_weights`: an open_clip tag
    (`openai`) that is already in the cache, a file (OpenAI's archive, a state dict, safetensors),
    or `random` for dry runs. They are null with `demo` and folders.

    `imagenet_weights` is a file of an ImageNet ResNet in torchvision's layout, or `torchvision`:
    the first weights of its ResNet-50 (IMAGENET1K_V1) in torch's cache. It is read for
    `train_irn.backbone: imagenet`, and for `visual_init: imagenet`, with which Step-1 starts from
    its stages instead of those of the backbone's image tower (Table 2, "Ours*").

    `normalise`: the mean and deviation of pictures before either CLIP: ImageNet's, as released, or
    each `clip`'s own. The colour of masked-out pixels goes with it. The boundary network always
    takes ImageNet's.

    A file is a path or hf://owner/repo[@revision]/file on the Hugging Face hub, which `tris fetch`
    downloads into the hub's cache.

    Sentences have at most `max_tokens` tokens, start and end included. Longer ones lose their end:
    `overflow: keep_eot` keeps the end token, `cut` drops it as the release does.
    """

    key: ClassVar[str] = "prepare_clip"

    backbone: str = Field(min_length=1)
    backbone_weights: str | None = Field(min_length=1)
    scorer: str = Field(min_length=1)
    scorer_weights: str | None = Field(min_length=1)
    visual_init: Literal["clip", "imagenet"]
    imagenet_weights: str | None = Field(min_length=1)
    normalise: Literal["imagenet", "clip"]
    max_tokens: int = Field(ge=4, le=77)
    overflow: Literal["cut", "keep_eot"]

    @model_validator(mode="after")
    def imagenet_has_a_file(self) -> "PrepareClipParams":
        if self.visual_init == "imagenet" and self.imagenet_weights is None:
            raise ValueError(
                "visual_init: imagenet needs imagenet_weights, a file or `torchvision`"
            )
        return self
