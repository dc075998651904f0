"""Train Step-1: learn text-to-image responses from sentences alone."""

from dataclasses import replace
from functools import partial

from stages._artifacts import CLIP, EXPRESSIONS, IMAGES, PACKED, REFS, STEP1
from stages._stage import Run, run_stage, stage_app
from stages._training import (
    TrainingData,
    adopt_weights,
    as_asked,
    ended,
    length,
    open_training,
    save_training,
    skip_training,
)
from tris_core.clip.sources import load_clip
from tris_core.clip.towers import at_image_size, stage_channels, start_from
from tris_core.runtime.batch_norm import synchronise_batch_norm
from tris_core.runtime.device import pick_device, place
from tris_core.step1.network import build_step1
from tris_core.step1.params import DumpResponsesParams, TrainStep1Params
from tris_core.step1.scorer import Scorer, SentenceFeatures
from tris_core.step1.training import Step1Batches, Step1Objective
from tris_core.step1.validation import validation_miou
from tris_core.training.loop import fit, seed_everything
from tris_core.training.optimizers import adamw, schedule
from tris_core.training.task import Task
from tris_core.weights.clip_spec import ClipConfig
from tris_core.weights.configs import Step1Config, Step1Model

app = stage_app()


@app.command()
def main() -> None:
    """Train the response network (Eq. 1-9) on images and sentences of the train split.

    No mask or box is opened, unless `selection: val_mIoU` chooses an epoch by those of val.

    Inputs: data/index (images, refs, expressions), data/packed.json, models/clip.json,
    data/tokens.parquet, params train_step1, dump_responses.method and dump_responses.from.
    Outputs: models/step1, metrics/curves/step1.csv.

    With train_step1.weights, a network trained elsewhere is checked and copied instead. If
    responses come from elsewhere, nothing is trained. `selection: val_mIoU` opens
    data/truth.parquet, which is no dependency: if it changed, run `dvc repro -f train_step1`.

    1. Initialise from CLIP. 2. Encode every sentence once with the frozen scorer. 3. Train;
    an interrupted training resumes from a checkpoint outside DVC. 4. Save the weights.
    """
    with run_stage("train_step1", ranks=True) as run:
        params = run.params[TrainStep1Params]
        unneeded = run.params[DumpResponsesParams].instead_of_step1
        if unneeded is not None:
            skip_training(run, STEP1, unneeded)
        elif params.weights is not None:
            adopt_weights(run, STEP1, params.weights, {1: build_step1})
        else:
            train(run, params)


def train(run: Run, params: TrainStep1Params) -> None:
    device = pick_device(run.runtime, params.precision)
    seed_everything(params.seed)
    data = TrainingData.open(run)
    if params.shuffle_sentences:
        data = replace(data, refs=data.refs.with_shuffled_sentences(params.seed))

    backbone = at_image_size(data.clip.backbone, data.packed.size)
    config = Step1Config(
        clip=backbone,
        text=data.clip.text,
        size=data.packed.size,
        model=network(params, backbone.config),
    )
    model = build_step1(config)
    start_from(model.backbone, load_clip(backbone))
    place(model.train(), device)
    synchronise_batch_norm(model, device)
    scorer = Scorer.load(data.clip.scorer, device, params.mask_fill)
    sentences = SentenceFeatures(scorer, data.tokens(data.clip.scorer), device)

    tokens, steps = data.tokens(backbone), params.total_steps(len(data.refs))
    batches = Step1Batches(data.packed, data.refs, tokens, params, device)
    task = Task(
        name="Step-1",
        model=model,
        optimizer=adamw(model, params),
        steps=steps,
        images=min(params.batch, len(data.refs)),
        precision=params.precision,
        batch=batches,
        objective=as_asked(
            run, Step1Objective(model, scorer, sentences, params, device), scorer.clip
        ),
        describe=batches.describe,
        schedule=schedule(params, steps),
        max_grad_norm=params.max_grad_norm,
        compile=run.runtime.compile,
    )
    miou = partial(validation_miou, model=model, device=device, precision=params.precision)
    keep_best = data.keep_best(params, tokens, miou)
    with open_training(run, STEP1, params, [IMAGES, REFS, EXPRESSIONS, PACKED, CLIP]) as training:
        history = fit(task, training, keep_best)
        save_training(STEP1, model, config, history)
    run.say(f"{STEP1}: {length(steps, params.batch, len(data.refs))}")
    run.say(sentences.describe())
    run.say(ended(training, history))


def network(params: TrainStep1Params, clip: ClipConfig) -> Step1Model:
    """Arguments of `Step1` for a CLIP of this configuration."""
    prompt = params.prompt
    return Step1Model(
        visual_channels=stage_channels(clip)[-1],
        text_channels=clip.embed_dim,
        hidden=params.hidden,
        alpha=prompt.alpha if prompt.t2v else 0.0,
        beta=prompt.beta if prompt.v2t else 0.0,
        softmax=prompt.softmax,
        projection=prompt.projection,
        temperature=params.temperature.init,
        learn_temperature=params.temperature.learnable,
    )


if __name__ == "__main__":
    app()
