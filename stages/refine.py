"""Refine the selected response maps into pseudo-labels."""

from pathlib import Path

import pandas as pd

from stages._artifacts import (
    IMAGES,
    IRN,
    PRMS,
    PSEUDO_LABELS,
    REFS,
    RESPONSES,
    checked_root,
)
from stages._stage import run_stage, stage_app
from tris_core.data.images import read_image
from tris_core.data.rle import encode
from tris_core.refinement.params import RefineParams
from tris_core.refinement.refiners import REFINERS
from tris_core.responses.selected import Selected, SelectedMaps
from tris_core.responses.supplied import supplied_labels
from tris_core.runtime.device import pick_device
from tris_core.runtime.distributed import map_over_ranks, rank
from tris_core.runtime.parquet import read_table, write_table
from tris_core.runtime.progress import progress

app = stage_app()
Label = tuple[int, int, int, bytes]  # ref_id, height, width, counts


@app.command()
def main() -> None:
    """Make a pseudo-label of every selected map, as released by a walk along the boundaries of its image.

    Inputs: data/index (images, refs), the image files, data/responses.parquet, data/prms.parquet, models/irn,
    data/packed.json (the training size), params refine. Output: data/pseudo_labels.parquet (ref_id, height, width, counts: COCO
    run-length code), one row per training ref. With refine.from pseudo-labels made elsewhere are checked and copied instead.

    1. Take the selected maps to the image's size. 2. Refine all maps of an image together (tris_core/refinement/refiners.py).
    """
    with run_stage("refine", ranks=True) as run:
        params = run.params[RefineParams]
        images, refs = read_table(IMAGES), read_table(REFS)
        if params.source is not None:
            write_labels(supplied_labels(Path(params.source), refs, images))
            run.say(f"{PSEUDO_LABELS}: taken from {params.source}")
            return
        device = pick_device(run.runtime)
        refiner = REFINERS[params.method](params, device, IRN)
        train = refs.loc[refs["split"] == "train", "ref_id"]
        maps = SelectedMaps(RESPONSES, read_table(PRMS), train, images)
        folder = checked_root(run, images)

        def refine_image(selected: Selected) -> list[Label]:
            masks = refiner(read_image(folder / selected.path), selected.maps)
            height, width = masks.shape[1:]
            return [
                (ref_id, height, width, encode(mask))
                for ref_id, mask in zip(selected.ref_ids, masks, strict=True)
            ]

        def refine(group: list[Selected]) -> list[Label]:
            return [label for selected in group for label in refine_image(selected)]

        rows: list[Label] = []
        with progress(len(train), "pseudo-labels") as bar:
            for labels in map_over_ranks(maps, refine):
                rows += labels
                bar.update(len(labels))
        write_labels(pd.DataFrame(rows, columns=["ref_id", "height", "width", "counts"]))
        run.say(f"{PSEUDO_LABELS}: {len(rows)} pseudo-labels by {params.method}")


def write_labels(table: pd.DataFrame) -> None:
    if rank():
        return
    write_table(PSEUDO_LABELS, table.sort_values("ref_id"))


if __name__ == "__main__":
    app()
