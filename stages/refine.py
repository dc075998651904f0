"""Refine the selected response maps into pseudo-labels."""

from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from stages._artifacts import (
    IRN,
    PRMS,
    PSEUDO_LABELS,
    RESPONSES,
    check_keys,
    checked_root,
    open_index,
)
from stages._stage import run_stage, stage_app
from tris_core.data.images import read_image
from tris_core.data.rle import encode
from tris_core.refinement.params import RefineParams
from tris_core.refinement.refiners import REFINERS, Refiner
from tris_core.responses.selected import Selected, SelectedMaps
from tris_core.responses.supplied import supplied_labels
from tris_core.runtime.device import pick_device
from tris_core.runtime.distributed import map_over_ranks, rank
from tris_core.runtime.errors import counted
from tris_core.runtime.parquet import read_table, write_table
from tris_core.runtime.progress import progress
from tris_core.runtime.threads import prefetch

app = stage_app()
Label = tuple[int, int, int, bytes]  # ref_id, height, width, counts
BATCH_PIXELS = 5_000_000  # on a GPU: sixteen images of COCO


@app.command()
def main() -> None:
    """Make a pseudo-label of every selected map; as released, by a walk along image boundaries.

    Inputs: data/index (images, refs), the image files, data/responses.parquet, data/prms.parquet,
    models/irn, data/packed.json (hashes of the image files), params refine. Output:
    data/pseudo_labels.parquet (ref_id, height, width, counts: COCO run-length code), one row per
    training ref. With refine.from, pseudo-labels made elsewhere are checked and copied instead.

    1. Resize the selected maps to the image's own size. 2. Refine all maps of an image together
    (tris_core/refinement/refiners.py).
    """
    with run_stage("refine", ranks=True) as run:
        params, index = run.params[RefineParams], open_index()
        if params.source is not None:
            write_labels(supplied_labels(Path(params.source), index))
            run.say(f"{PSEUDO_LABELS}: taken from {params.source}")
            return
        train = index.ref_ids("train")
        device = pick_device(run.runtime)
        refiner = REFINERS[params.method](params, device, IRN)
        check_keys(index, RESPONSES, PRMS)
        maps = SelectedMaps(RESPONSES, read_table(PRMS), train, index.images)
        root = checked_root(run, index.images)
        refine = RefineImages(refiner, root, BATCH_PIXELS if device.type == "cuda" else 0)
        rows: list[Label] = []
        with progress(len(train), "pseudo-labels") as bar:
            for labels in map_over_ranks(maps, refine):
                rows += labels
                bar.update(len(labels))
        write_labels(pd.DataFrame(rows, columns=["ref_id", "height", "width", "counts"]))
        run.say(f"{PSEUDO_LABELS}: {counted(len(rows), 'pseudo-label')} by {params.method}")


@dataclass(frozen=True)
class RefineImages:
    """Refines the selected maps of some images, whose files are in `folder`.

    Images of a size are refined together, as many as have at most `pixels`, but at least one.
    """

    refiner: Refiner
    folder: Path
    pixels: int

    def __call__(self, images: list[Selected]) -> list[Label]:
        batches = []
        for (height, width), group in groupby(sorted(images, key=_size), key=_size):
            same, number = list(group), max(1, self.pixels // (height * width))
            batches += [same[i : i + number] for i in range(0, len(same), number)]
        pictures = prefetch(self._read, batches)
        pairs = zip(batches, pictures, strict=True)
        return [label for some, read in pairs for label in self._of_images(some, read)]

    def _read(self, images: list[Selected]) -> list[NDArray[np.uint8]]:
        return [read_image(self.folder / selected.path) for selected in images]

    def _of_images(self, images: list[Selected], read: list[NDArray[np.uint8]]) -> list[Label]:
        labels: list[Label] = []
        masks = self.refiner(read, [selected.maps for selected in images])
        for selected, of_image in zip(images, masks, strict=True):
            height, width = of_image.shape[1:]
            pairs = zip(selected.ref_ids, of_image, strict=True)
            labels += [(ref_id, height, width, encode(mask)) for ref_id, mask in pairs]
        return labels


def _size(selected: Selected) -> tuple[int, int]:
    height, width = selected.maps.shape[1:]
    return height, width


def write_labels(table: pd.DataFrame) -> None:
    if rank() == 0:
        write_table(PSEUDO_LABELS, table.sort_values("ref_id"))


if __name__ == "__main__":
    app()
