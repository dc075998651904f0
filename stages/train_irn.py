"""Train the boundary network."""

from functools import partial
from pathlib import Path

import pandas as pd

from stages._artifacts import CLIP, CRF_SEEDS, IMAGES, IRN, check_keys, checked_root, open_index
from stages._stage import Run, run_stage, stage_app
from stages._training import as_asked, ended, open_training, save_training, skip_training
from tris_core.irn.backbone import describe_irn, load_backbone
from tris_core.irn.network import build_irn
from tris_core.irn.params import TrainIrnParams
from tris_core.irn.training import CropBatches, IrnObjective, mean_displacement, sgd
from tris_core.refinement.params import RefineParams
from tris_core.runtime.device import pick_device, place
from tris_core.runtime.errors import InputError, counted
from tris_core.runtime.parquet import read_table
from tris_core.training.loop import fit, seed_everything
from tris_core.training.optimizers import poly
from tris_core.training.task import Task
from tris_core.weights.clip_spec import ClipPair

app = stage_app()


@app.command()
def main() -> None:
    """Train the boundary and displacement branches of IRN on the CRF seeds.

    The backbone stays frozen.

    Inputs: data/index (images, refs), the image files, data/packed.json (their hashes),
    data/crf_seeds.parquet, models/clip.json, params train_irn, refine.method and refine.from.
    Outputs: models/irn, metrics/curves/irn.csv.

    If the pseudo-labels come from elsewhere, nothing is trained.

    1. Cut random crops of images and seeds. 2. Train on pairs of pixels within the radius.
    3. Measure the mean displacement over the training images, which the network then subtracts.
    """
    with run_stage("train_irn", ranks=True) as run:
        unneeded = run.params[RefineParams].instead_of_irn
        if unneeded is not None:
            skip_training(run, IRN, unneeded)
        else:
            train(run, run.params[TrainIrnParams])


def train(run: Run, params: TrainIrnParams) -> None:
    device = pick_device(run.runtime)
    seed_everything(params.seed)
    root, seeds = open_seeds(run)

    config = describe_irn(ClipPair.read(CLIP), params.backbone)
    visual = place(load_backbone(config), device)
    irn = place(build_irn(config).train(), device)

    batches = CropBatches(seeds, root, params, device)
    task = Task(
        name="IRN",
        model=irn,
        optimizer=sgd(irn, params),
        steps=batches.steps,
        images=min(params.batch, len(seeds)),
        precision="fp32",
        batch=batches,
        objective=as_asked(run, IrnObjective(visual, irn, params.radius, device)),
        describe=batches.describe,
        schedule=partial(poly, steps=batches.steps),
        compile=run.runtime.compile,
    )
    with open_training(run, IRN, params, [IMAGES, CRF_SEEDS, CLIP]) as training:
        history = fit(task, training)
        paths = [root / path for path in seeds["path"].unique()]
        irn.set_mean_shift(mean_displacement(visual, irn, paths, device))
        save_training(IRN, irn, config, history)
    run.say(f"{IRN}: {counted(task.steps, 'step')} of {params.batch} crops")
    run.say(ended(training, history))


def open_seeds(run: Run) -> tuple[Path, pd.DataFrame]:
    """The folder of the images, and the CRF seeds with the path of their image."""
    index = open_index()
    root = checked_root(run, index.images)
    seeds = read_table(CRF_SEEDS).merge(index.images[["image_id", "path"]], on="image_id")
    if seeds.empty:
        raise InputError(
            f"{CRF_SEEDS}: no seeds, because refine.method or refine.from was different when it "
            "was made; run `dvc repro`"
        )
    check_keys(index, CRF_SEEDS)
    return root, seeds


if __name__ == "__main__":
    app()
