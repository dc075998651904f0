"""Train the boundary network."""

from stages._artifacts import CLIP, CRF_SEEDS, IMAGES, IRN, checked_root, read_clip
from stages._stage import run_stage, stage_app
from stages._training import keep, skip_training
from tris_core.clip.sources import load_clip
from tris_core.clip.towers import pyramid_channels
from tris_core.irn.backbone import freeze_at_stride_16
from tris_core.irn.network import build_irn
from tris_core.irn.params import TrainIrnParams
from tris_core.irn.training import batch_rows, crop_losses, mean_displacement, sgd
from tris_core.refinement.params import RefineParams
from tris_core.runtime.device import pick_device, place
from tris_core.runtime.errors import InputError
from tris_core.runtime.parquet import read_table
from tris_core.training.loggers import open_log
from tris_core.training.loop import fit, poly, seed_everything
from tris_core.training.scratch import scratch_folder, training_digest
from tris_core.weights.configs import IrnConfig, IrnModel

app = stage_app()


@app.command()
def main() -> None:
    """Train the boundary and displacement branches of IRN on the seeds; the backbone stays frozen.

    Inputs: data/index (images), the image files, data/packed.json (their hashes), data/crf_seeds.parquet,
    models/clip.json, params train_irn, refine.method and refine.from. Outputs: models/irn, metrics/curves/irn.csv. Where
    the pseudo-labels come from elsewhere, nothing is trained.

    1. Cut random crops of images and seeds. 2. Train on pairs of pixels within the radius. 3. Measure the mean displacement
    over the training images; the network subtracts it from then on.
    """
    with run_stage("train_irn", ranks=True) as run:
        params, runtime = run.params[TrainIrnParams], run.runtime
        instead = run.params[RefineParams].instead_of_irn
        if instead is not None:
            run.say(skip_training(IRN, "irn", instead))
            return
        device = pick_device(runtime)
        seed_everything(params.seed)
        images, clip = read_table(IMAGES), read_clip()
        folder = checked_root(run, images)
        labels = read_table(CRF_SEEDS).merge(images[["image_id", "path"]], on="image_id")
        if labels.empty:
            raise InputError(
                f"{CRF_SEEDS}: no seeds, as refine.method or refine.from was another when it was made; run `dvc repro`"
            )
        network = IrnModel(channels=list(pyramid_channels(clip.backbone)))
        config = IrnConfig(clip=clip.backbone, model=network)
        visual = place(freeze_at_stride_16(load_clip(clip.backbone).visual), device)
        irn = place(build_irn(config).train(), device)
        steps = params.epochs * max(1, len(labels) // params.batch)
        losses = crop_losses(visual, irn, labels, folder, params, device)
        digest = training_digest(params.model_dump(), [IMAGES, CRF_SEEDS, CLIP])
        with scratch_folder("irn", digest) as scratch, open_log(runtime.logger, "irn") as log:
            history = fit(
                irn, sgd(irn, params), losses, steps=steps, scratch=scratch, name="IRN",
                rate=lambda step: poly(step, steps), checkpoint_seconds=runtime.checkpoint_seconds, log=log,
                batch=lambda step: f"ref_id {', '.join(map(str, labels['ref_id'].iloc[batch_rows(labels, params, step)]))}",
            )  # fmt: skip
            paths = [folder / path for path in labels["path"].unique()]
            irn.set_mean_shift(mean_displacement(visual, irn, paths, device))
            keep(irn, config, IRN, history, "irn")
        run.say(f"{IRN}: {steps} steps of {params.batch} crops")
        if len(history):
            run.say(f"loss {history['total'].iloc[-1]:.3f}")


if __name__ == "__main__":
    app()
