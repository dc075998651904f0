"""Train Step-2: learn to segment from pseudo-labels."""

from functools import partial

from torch import nn

from stages._artifacts import (
    CLIP,
    EXPRESSIONS,
    IMAGES,
    PACKED,
    PSEUDO_LABELS,
    REFS,
    STEP2,
    check_keys,
)
from stages._stage import Run, run_stage, stage_app
from stages._training import (
    TrainingData,
    adopt_weights,
    as_asked,
    ended,
    length,
    open_training,
    save_training,
)
from tris_core.clip.sources import load_clip
from tris_core.clip.towers import pyramid_channels, start_from
from tris_core.runtime.batch_norm import synchronise_batch_norm
from tris_core.runtime.device import pick_device, place
from tris_core.runtime.parquet import read_table
from tris_core.step2.average import RunningAverage
from tris_core.step2.network import build_step2
from tris_core.step2.params import TrainStep2Params
from tris_core.step2.training import Step2Batches, Step2Objective, TrainingLabels
from tris_core.step2.validation import validation_miou
from tris_core.training.loop import fit, seed_everything
from tris_core.training.optimizers import adamw, schedule
from tris_core.training.task import Task
from tris_core.weights.clip_spec import ClipSpec
from tris_core.weights.configs import Step2Config, Step2Model

app = stage_app()
INPUTS = [IMAGES, REFS, EXPRESSIONS, PACKED, CLIP, PSEUDO_LABELS]


@app.command()
def main() -> None:
    """Train the segmentation network on the pseudo-labels of the train split.

    No true mask or box is opened, unless `selection: val_mIoU` chooses an epoch by those of val.

    Inputs: data/index (images, refs, expressions), data/packed.json, models/clip.json,
    data/tokens.parquet, data/pseudo_labels.parquet, params train_step2.
    Outputs: models/step2, metrics/curves/step2.csv.

    With train_step2.weights, a network trained elsewhere is checked and copied instead.
    `selection: val_mIoU` opens data/truth.parquet, which is no dependency: if it changed, run
    `dvc repro -f train_step2`.

    1. Initialise both encoders from CLIP. 2. Train on a random sentence of each object and its
    pseudo-label; an interrupted training resumes from a checkpoint outside DVC. 3. Save the
    weights.
    """
    with run_stage("train_step2", ranks=True) as run:
        params = run.params[TrainStep2Params]
        if params.weights is not None:
            adopt_weights(run, STEP2, params.weights, {2: build_step2})
        else:
            train(run, params)


def train(run: Run, params: TrainStep2Params) -> None:
    device = pick_device(run.runtime, params.precision)
    seed_everything(params.seed)
    data = TrainingData.open(run)
    check_keys(data.index, PSEUDO_LABELS)
    table = read_table(PSEUDO_LABELS).set_index("ref_id")
    labels = TrainingLabels(table.loc[data.refs.ref_id], data.packed.size)

    backbone = data.clip.backbone.with_own_tower()
    config = Step2Config(
        clip=backbone,
        text=data.clip.text,
        size=data.packed.size,
        model=network(params, backbone),
    )
    model = build_step2(config)
    start_from(model.backbone, load_clip(backbone))
    place(model.train(), device)
    synchronise_batch_norm(model, device)
    average = None if params.ema == "none" else RunningAverage(model)

    tokens, steps = data.tokens(backbone), params.total_steps(len(data.refs))
    batches = Step2Batches(data.packed, data.refs, labels, tokens, params, device)
    task = Task(
        name="Step-2",
        model=nn.ModuleList([model] if average is None else [model, average]),
        optimizer=adamw(model, params, full_rate="positional_embedding"),
        steps=steps,
        images=min(params.batch, len(data.refs)),
        precision=params.precision,
        batch=batches,
        objective=as_asked(run, Step2Objective(model, average, params, device)),
        describe=batches.describe,
        schedule=schedule(params, steps),
        max_grad_norm=params.max_grad_norm,
        compile=run.runtime.compile,
    )
    miou = partial(validation_miou, model=model, device=device, precision=params.precision)
    keep_best = data.keep_best(params, tokens, miou)
    with open_training(run, STEP2, params, INPUTS) as training:
        history = fit(task, training, keep_best)
        save_training(STEP2, model, config, history)
    run.say(f"{STEP2}: {length(steps, params.batch, len(data.refs))}")
    run.say(ended(training, history))


def network(params: TrainStep2Params, clip: ClipSpec) -> Step2Model:
    """Arguments of `Step2` for a CLIP of models/clip.json."""
    return Step2Model(
        stage_channels=list(pyramid_channels(clip)[1:]),
        text_width=clip.text_width,
        width=params.width,
    )


if __name__ == "__main__":
    app()
