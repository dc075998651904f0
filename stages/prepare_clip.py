"""Find the two CLIPs."""

from stages._artifacts import CLIP, EXPRESSIONS, TOKENS
from stages._stage import run_stage, stage_app
from tris_core.clip.imagenet import describe_imagenet, load_resnet50
from tris_core.clip.names import RANDOM
from tris_core.clip.params import PrepareClipParams
from tris_core.clip.sources import describe_clip
from tris_core.clip.tokenizer import Tokenizer
from tris_core.clip.tokens import write_tokens
from tris_core.irn.params import TrainIrnParams
from tris_core.runtime.errors import InputError
from tris_core.runtime.files import write_sealed_json
from tris_core.runtime.parquet import read_table
from tris_core.weights.clip_spec import ClipPair, Text

app = stage_app()


@app.command()
def main() -> None:
    """Find the CLIP that initialises the networks and the one that scores masked images.

    Inputs: data/index (expressions), the files of weights, params prepare_clip and
    train_irn.backbone (which only decides what is checked).
    Outputs: models/clip.json (configuration, vocabulary and hash of both, hash of the ImageNet
    ResNet; the weights stay where they are), data/tokens.parquet (token ids of every expression,
    and whether it is cut). Nothing is downloaded.

    1. Find configuration and weights. 2. Hash the weights and check that they fit. 3. Tokenise the
    expressions, and report the share of unknown words.
    """
    with run_stage("prepare_clip") as run:
        params = run.params[PrepareClipParams]
        tower = params.imagenet_weights if params.visual_init == "imagenet" else None
        backbone = describe_clip(
            params.backbone, params.backbone_weights, imagenet=tower, normalise=params.normalise
        )
        scorer = describe_clip(params.scorer, params.scorer_weights, normalise=params.normalise)
        both = {"backbone": backbone, "scorer": scorer}
        for role, clip in both.items():
            if params.max_tokens > clip.context_length:
                raise InputError(
                    f"prepare_clip.max_tokens = {params.max_tokens}: the {role} {clip.name} reads "
                    f"{clip.context_length} tokens at most; set it to {clip.context_length} or less"
                )
        expressions = read_table(EXPRESSIONS)
        texts = expressions["text"].tolist()
        text = Text(max_tokens=params.max_tokens, overflow=params.overflow)
        pair = ClipPair(backbone=backbone, scorer=scorer, text=text).content()
        if run.params[TrainIrnParams].backbone == "imagenet":
            check_resnet50(params.imagenet_weights)
        if params.imagenet_weights is not None:
            pair["imagenet"] = describe_imagenet(params.imagenet_weights).content()
        write_sealed_json(CLIP, pair)
        for role, clip in both.items():
            unknown = Tokenizer(clip.vocabulary).unknown_share(texts)
            run.say(f"{role} {clip.name}: {unknown:.1%} of the words unknown to it")
            if clip.weights == RANDOM:
                run.say(f"WARNING: the {role}'s weights are random, so results mean nothing")
        cut = write_tokens(TOKENS, expressions, [backbone.vocabulary, scorer.vocabulary], text)
        run.say(f"{cut} of {len(texts)} expressions longer than {params.max_tokens} tokens")


def check_resnet50(location: str | None) -> None:
    """Find a fault in the boundary network's ResNet-50 now, not after Step-1."""
    if location is None:
        raise InputError(
            "prepare_clip.imagenet_weights = null: train_irn.backbone: imagenet needs a file or "
            "`torchvision`; if no boundary network is trained, set train_irn.backbone: clip"
        )
    load_resnet50(describe_imagenet(location))


if __name__ == "__main__":
    app()
