"""Step 1: learn text-to-image responses from sentences alone."""

from stages._artifacts import (
    CLIP,
    EXPRESSIONS,
    IMAGES,
    PACKED,
    REFS,
    STEP1,
    TOKENS,
    open_index,
    open_packed,
    read_clip,
)
from stages._stage import run_stage, stage_app
from stages._training import keep, skip_training, take_weights, validation
from tris_core.clip.sources import load_clip
from tris_core.clip.tokens import read_tokens
from tris_core.clip.towers import at_image_size, stage_channels
from tris_core.runtime.device import pick_device, place
from tris_core.runtime.distributed import synchronise_batch_norm
from tris_core.step1.network import build_step1
from tris_core.step1.params import DumpResponsesParams, TrainStep1Params
from tris_core.step1.scorer import SentenceFeatures
from tris_core.step1.training import step1_losses
from tris_core.training.loggers import open_log
from tris_core.training.loop import Selection, fit, poly, seed_everything
from tris_core.training.optimizers import adamw
from tris_core.training.samples import TrainingRefs
from tris_core.training.scratch import scratch_folder, training_digest
from tris_core.weights.clip_spec import ClipConfig
from tris_core.weights.configs import Step1Config, Step1Model

app = stage_app()


@app.command()
def main() -> None:
    """Train the response network (Eq. 1-9) on images and sentences of the train split. No mask or box is opened.

    Inputs: data/index (images, refs, expressions), data/tokens.parquet, data/packed.json, models/clip.json, params train_step1,
    dump_responses.method and dump_responses.from. Outputs: models/step1, metrics/curves/step1.csv. With train_step1.weights a
    network trained elsewhere is checked and copied instead; where responses come from elsewhere, there is no network.
    `selection: val_mIoU` alone opens data/truth.parquet, which is no dependency: rerun with `dvc repro -f` if it changed.

    1. Initialise from CLIP. 2. Encode every sentence once with the frozen scorer. 3. Train; a checkpoint outside DVC lets the
    next run go on after an interruption. 4. Save the last weights.
    """
    with run_stage("train_step1", ranks=True) as run:
        params, runtime = (
            run.params[TrainStep1Params],
            run.runtime,
        )
        instead = run.params[DumpResponsesParams].instead_of_step1
        if instead is not None:
            run.say(skip_training(STEP1, "step1", instead))
            return
        if params.weights is not None:
            run.say(take_weights(params.weights, {1: build_step1}, STEP1, "step1"))
            return
        device = pick_device(runtime)
        seed_everything(params.seed)
        index, clip = open_index(), read_clip()
        packed, expressions = open_packed(run, index), index.expressions
        refs = TrainingRefs.from_index(index, "train")
        if params.shuffle_sentences:
            refs = refs.with_shuffled_sentences(params.seed)

        backbone = at_image_size(clip.backbone, packed.size)
        config = Step1Config(
            clip=backbone, text=clip.text, size=packed.size, model=network(params, backbone.config)
        )
        model = build_step1(config)
        model.backbone.load_state_dict(load_clip(backbone).state_dict())
        scorer = place(load_clip(clip.scorer).requires_grad_(False).eval(), device)
        texts = expressions["text"].tolist()
        sentences = SentenceFeatures(
            scorer, read_tokens(TOKENS, texts, clip.scorer.vocabulary, clip.text), device
        )
        tokens = read_tokens(TOKENS, texts, clip.backbone.vocabulary, clip.text)
        place(model.train(), device)
        synchronise_batch_norm(model)
        steps = params.total_steps(len(refs.image))
        scorer_size = clip.scorer.image_size
        losses = step1_losses(
            model, scorer, scorer_size, packed, refs, tokens, sentences, params, device
        )
        digest = training_digest(params.model_dump(), [IMAGES, REFS, EXPRESSIONS, PACKED, CLIP])
        selection = None
        if params.selection == "val_mIoU":
            val = validation(params, index, packed, tokens, device)
            selection = Selection(max(1, len(refs.image) // params.batch), lambda: val.step1(model))
        with scratch_folder("step1", digest) as scratch, open_log(runtime.logger, "step1") as log:
            history = fit(
                model, adamw(model, params), losses, steps=steps, scratch=scratch, name="Step-1",
                rate=lambda step: poly(step, steps) if params.schedule == "poly" else 1.0,
                checkpoint_seconds=runtime.checkpoint_seconds, log=log, selection=selection,
                batch=lambda step: refs.describe(step, params.batch, params.seed),
            )  # fmt: skip
            keep(model, config, STEP1, history, "step1")
        run.say(f"{STEP1}: {steps} steps of {params.batch} on {len(refs.image)} refs")
        run.say(sentences.describe())
        if len(history):
            run.say(f"loss {history['total'].iloc[-1]:.3f}")


def network(params: TrainStep1Params, clip: ClipConfig) -> Step1Model:
    """Arguments of `Step1` with a CLIP of this configuration."""
    prompt = params.prompt
    return Step1Model(
        visual_channels=stage_channels(clip)[-1],
        text_channels=clip.embed_dim,
        hidden=params.hidden,
        alpha=prompt.alpha if prompt.t2v else 0.0,
        beta=prompt.beta if prompt.v2t else 0.0,
        temperature=params.temperature.init,
        learn_temperature=params.temperature.learnable,
    )


if __name__ == "__main__":
    app()
