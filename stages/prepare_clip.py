"""Find the two CLIPs."""

from stages._artifacts import CLIP, EXPRESSIONS, TOKENS
from stages._stage import run_stage, stage_app
from tris_core.clip.params import PrepareClipParams
from tris_core.clip.sources import RANDOM, describe_clip
from tris_core.clip.tokenizer import Tokenizer
from tris_core.clip.tokens import write_tokens
from tris_core.runtime.errors import InputError
from tris_core.runtime.files import write_sealed_json
from tris_core.runtime.parquet import read_table

app = stage_app()


@app.command()
def main() -> None:
    """Find the CLIP that initialises the networks and the one that scores masked images, and record what they are.

    Inputs: data/index (expressions), the files of weights, params prepare_clip. Outputs: models/clip.json
    (configuration, vocabulary and hash of both; the weights stay where they are), data/tokens.parquet (tokens of every
    expression, start and end included, and whether it is cut). Nothing is downloaded.

    1. Find configuration and weights. 2. Hash the weights and see that they fit. 3. Tell which share of the data set's words
    the vocabulary knows.
    """
    with run_stage("prepare_clip") as run:
        params = run.params[PrepareClipParams]
        backbone = describe_clip(
            params.backbone, params.backbone_weights, imagenet=params.imagenet_weights
        )
        scorer = describe_clip(params.scorer, params.scorer_weights)
        for role, clip in (("backbone", backbone), ("scorer", scorer)):
            context = clip["config"]["text_cfg"]["context_length"]
            if params.max_tokens > context:
                raise InputError(
                    f"prepare_clip.max_tokens = {params.max_tokens}: the {role} {clip['name']} reads {context} tokens at most; "
                    f"set it to {context} or less"
                )
        expressions = read_table(EXPRESSIONS)
        texts = expressions["text"].tolist()
        text = {"max_tokens": params.max_tokens, "overflow": params.overflow}
        write_sealed_json(CLIP, {"backbone": backbone, "scorer": scorer, "text": text})
        for role, clip in (("backbone", backbone), ("scorer", scorer)):
            tokenizer = Tokenizer(clip["vocabulary"])
            run.say(
                f"{role} {clip['name']}: {tokenizer.unknown_share(texts):.1%} of the words unknown to it"
            )
            if clip["weights"] == RANDOM:
                run.say(f"WARNING: the {role}'s weights are random, so results mean nothing")
        vocabularies = [backbone["vocabulary"], scorer["vocabulary"]]
        cut = write_tokens(TOKENS, expressions, vocabularies, text)
        run.say(f"{cut} of {len(texts)} expressions longer than {params.max_tokens} tokens")


if __name__ == "__main__":
    app()
