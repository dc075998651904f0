"""Step 2: learn to segment from pseudo-labels."""

from torch import nn

from stages._artifacts import (
    CLIP,
    EXPRESSIONS,
    IMAGES,
    PACKED,
    PSEUDO_LABELS,
    REFS,
    STEP2,
    TOKENS,
    open_index,
    open_packed,
    read_clip,
)
from stages._stage import run_stage, stage_app
from stages._training import keep, take_weights, validation
from tris_core.clip.sources import load_clip
from tris_core.clip.tokens import read_tokens
from tris_core.clip.towers import pyramid_channels
from tris_core.runtime.device import pick_device
from tris_core.runtime.distributed import synchronise_batch_norm
from tris_core.runtime.parquet import read_table
from tris_core.step2.network import build_step2
from tris_core.step2.params import TrainStep2Params
from tris_core.step2.training import running_average, step2_losses
from tris_core.training.loggers import open_log
from tris_core.training.loop import Selection, fit, poly, seed_everything
from tris_core.training.optimizers import adamw
from tris_core.training.samples import TrainingRefs
from tris_core.training.scratch import scratch_folder, training_digest
from tris_core.weights.configs import Step2Config, Step2Model

app = stage_app()


@app.command()
def main() -> None:
    """Train the segmentation network on the pseudo-labels of the train split. No true mask or box is opened.

    Inputs: data/index (images, refs, expressions), data/tokens.parquet, data/packed.json, models/clip.json, data/pseudo_labels.parquet,
    params train_step2. Outputs: models/step2, metrics/curves/step2.csv. With train_step2.weights a network trained elsewhere is
    checked and copied instead. `selection: val_mIoU` alone opens data/truth.parquet, which is no dependency: rerun with
    `dvc repro -f` if it changed.

    1. Initialise both encoders from CLIP. 2. Train with a random sentence of the object and its pseudo-label; a checkpoint
    outside DVC lets the next run go on after an interruption. 3. Save the last weights.
    """
    with run_stage("train_step2", ranks=True) as run:
        params, runtime = (
            run.params[TrainStep2Params],
            run.runtime,
        )
        if params.weights is not None:
            run.say(take_weights(params.weights, {2: build_step2}, STEP2, "step2"))
            return
        device = pick_device(runtime)
        seed_everything(params.seed)
        index, clip = open_index(), read_clip()
        packed, expressions = open_packed(run, index), index.expressions
        refs = TrainingRefs.from_index(index, "train")
        labels = read_table(PSEUDO_LABELS).set_index("ref_id")
        network = Step2Model(
            stage_channels=list(pyramid_channels(clip.backbone)[1:]),
            text_width=clip.backbone.text_width,
            width=params.width,
        )
        config = Step2Config(clip=clip.backbone, text=clip.text, size=packed.size, model=network)
        model = build_step2(config)
        model.backbone.load_state_dict(load_clip(clip.backbone).state_dict())
        model.train().to(device)
        synchronise_batch_norm(model)
        tokens = read_tokens(TOKENS, expressions["text"], clip.backbone.vocabulary, clip.text)
        steps = params.total_steps(len(refs.image))
        average = None if params.ema == "none" else running_average(model)
        losses = step2_losses(model, average, packed, refs, labels, tokens, params, device)
        digest = training_digest(
            params.model_dump(), [IMAGES, REFS, EXPRESSIONS, PACKED, CLIP, PSEUDO_LABELS]
        )
        selection = None
        if params.selection == "val_mIoU":
            val = validation(params, index, packed, tokens, device)
            selection = Selection(max(1, len(refs.image) // params.batch), lambda: val.step2(model))
        with scratch_folder("step2", digest) as scratch, open_log(runtime.logger, "step2") as log:
            history = fit(
                nn.ModuleList([model] if average is None else [model, average]),
                adamw(model, params, full_rate="positional_embedding"), losses, steps=steps, scratch=scratch, name="Step-2",
                rate=lambda step: poly(step, steps) if params.schedule == "poly" else 1.0,
                checkpoint_seconds=runtime.checkpoint_seconds, log=log, selection=selection,
                batch=lambda step: refs.describe(step, params.batch, params.seed),
            )  # fmt: skip
            keep(model, config, STEP2, history, "step2")
        run.say(f"{STEP2}: {steps} steps of {params.batch} on {len(refs.image)} refs")
        if len(history):
            run.say(f"loss {history['total'].iloc[-1]:.3f}")


if __name__ == "__main__":
    app()
