"""Train the boundary network."""

from stages._artifacts import CLIP, IMAGES, IRN, IRN_LABELS, checked_image_folder, read_clip
from stages._keys import check_keys
from stages._stage import PARAMS, spread_stage, stage_app
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
from tris_core.runtime.params import RuntimeParams, load_section
from tris_core.runtime.parquet import read_table
from tris_core.training.loggers import open_log
from tris_core.training.loop import fit, poly, seed_everything
from tris_core.training.scratch import scratch_folder, training_digest

app = stage_app()


@app.command()
def main() -> None:
    """Train the boundary and displacement branches of IRN on the seeds; the backbone stays frozen.

    Inputs: data/index/{images,refs}.parquet, the image files, data/packed.json (their hashes), data/irn_labels.parquet,
    models/clip.json, params train_irn, refine.method and refine.from. Outputs: models/irn, metrics/curves/irn.csv. Where
    the pseudo-labels come from elsewhere, nothing is trained.

    1. Cut random crops of images and seeds. 2. Train on pairs of pixels within the radius. 3. Measure the mean displacement
    over the training images; the network subtracts it from then on.
    """
    with spread_stage("train_irn") as say:
        params, runtime = load_section(PARAMS, TrainIrnParams), load_section(PARAMS, RuntimeParams)
        instead = load_section(PARAMS, RefineParams).instead_of_irn
        if instead is not None:
            say(skip_training(IRN, "irn", instead))
            return
        device = pick_device(runtime)
        seed_everything(params.seed)
        images, clip = read_table(IMAGES), read_clip()
        folder = checked_image_folder(images)
        labels = read_table(IRN_LABELS)
        if labels.empty:
            raise InputError(
                f"{IRN_LABELS}: no seeds, as refine.method or refine.from was another when it was made; run `dvc repro`"
            )
        check_keys(IRN_LABELS)
        labels = labels.merge(images[["image_id", "path"]], on="image_id")
        config = {
            "clip": clip["backbone"],
            "model": {"channels": list(pyramid_channels(clip["backbone"]))},
        }
        visual = place(freeze_at_stride_16(load_clip(clip["backbone"]).visual), device)
        irn = place(build_irn(config).train(), device)
        steps = params.epochs * max(1, len(labels) // params.batch)
        losses = crop_losses(visual, irn, labels, folder, params, device)
        digest = training_digest(params.model_dump(), [IMAGES, IRN_LABELS, CLIP])
        with scratch_folder("irn", digest) as scratch, open_log(runtime.logger, "irn") as log:
            history = fit(
                irn, sgd(irn, params), losses, steps=steps, scratch=scratch, name="IRN",
                rate=lambda step: poly(step, steps), checkpoint_seconds=runtime.checkpoint_seconds, log=log,
                batch=lambda step: f"ref_id {', '.join(map(str, labels['ref_id'].iloc[batch_rows(labels, params, step)]))}",
            )  # fmt: skip
            paths = [folder / path for path in labels["path"].unique()]
            irn.set_mean_shift(mean_displacement(visual, irn, paths, device))
            keep(irn, config, IRN, history, "irn")
        say(f"{IRN}: {steps} steps of {params.batch} crops")
        if len(history):
            say(f"loss {history['total'].iloc[-1]:.3f}")


if __name__ == "__main__":
    app()
