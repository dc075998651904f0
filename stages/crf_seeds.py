"""Make the seeds of the boundary network."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from stages._artifacts import CRF_SEEDS, PRMS, RESPONSES, check_keys, checked_root, open_index
from stages._stage import run_stage, stage_app
from tris_core.crf.filters import crf_builder
from tris_core.crf.params import CrfSeedsParams
from tris_core.crf.seeds import crf_labels, encode_label
from tris_core.data.images import read_image
from tris_core.refinement.params import RefineParams
from tris_core.responses.selected import Selected, SelectedMaps
from tris_core.runtime.device import pick_device
from tris_core.runtime.distributed import map_over_ranks, rank, world_size
from tris_core.runtime.errors import counted
from tris_core.runtime.parquet import read_table, write_table
from tris_core.runtime.processes import map_in_processes
from tris_core.runtime.progress import advance, progress

app = stage_app()
Seed = tuple[int, int, bytes]  # ref_id, image_id, label
Label = Callable[[NDArray[np.uint8], NDArray[np.float32]], NDArray[np.uint8]]


@app.command()
def main() -> None:
    """Turn the selected map of every training ref into seeds, with a dense CRF at two confidences.

    Inputs: data/index (images, refs), the image files, data/responses.parquet, data/prms.parquet,
    data/packed.json (hashes of the image files), params crf_seeds, refine.method and refine.from.
    Output: data/crf_seeds.parquet (ref_id, image_id, label: a PNG of 0 background, 1 foreground,
    255 ignore, at the image's own size). It has no rows if the pseudo-labels come from elsewhere.

    1. Resize the selected maps to the image's own size. 2. Run the CRF from a strict and from a
    generous foreground. 3. Label what the first keeps as foreground and what the second rejects as
    background; ignore the rest.
    """
    with run_stage("crf_seeds", ranks=True) as run:
        params = run.params[CrfSeedsParams]
        instead = run.params[RefineParams].instead_of_irn
        if instead is not None:
            write_seeds([])
            run.say(f"{CRF_SEEDS}: no seeds, {instead}")
            return
        index = open_index()
        check_keys(index, RESPONSES, PRMS)
        train = index.ref_ids("train")
        maps = SelectedMaps(RESPONSES, read_table(PRMS), train, index.images)
        folder = checked_root(run, index.images)
        exact = params.filters == "exact"
        device = pick_device(run.runtime) if exact else torch.device("cpu")
        build = crf_builder(
            params.filters, iterations=params.iterations, gt_prob=params.gt_prob, device=device
        )
        where = params.model_dump(include={"resolution", "conf_fg", "conf_bg"})
        label = partial(crf_labels, build=build, **where)
        work = partial(seeds_of_image, folder=folder, label=label)
        spread = map if exact else partial(map_in_processes, workers=run.runtime.workers)
        with progress(len(train) // world_size(), "CRF seeds") as bar:
            share = Share(maps, work, spread, bar)
            seeds = list(chain.from_iterable(map_over_ranks(range(world_size()), share)))
        write_seeds(seeds)
        run.say(f"{CRF_SEEDS}: seeds for {counted(len(seeds), 'ref')}")


def seeds_of_image(selected: Selected, *, folder: Path, label: Label) -> list[Seed]:
    """The seeds of all refs of one image, whose file is in `folder`.

    With a lattice it runs in a worker process, which uses no torch.
    """
    labels = label(read_image(folder / selected.path), selected.maps)
    pairs = zip(selected.ref_ids, labels, strict=True)
    return [(ref_id, selected.image_id, encode_label(one)) for ref_id, one in pairs]


@dataclass(frozen=True)
class Share:
    """Makes one rank's share of the seeds: those of every n-th row group from `first`, for n ranks.

    `spread` is like `map`. A rank starts its worker processes once and keeps them busy across row
    groups.
    """

    maps: SelectedMaps
    work: Callable[[Selected], list[Seed]]
    spread: Callable[[Callable[[Selected], list[Seed]], Iterable[Selected]], Iterator[list[Seed]]]
    bar: "tqdm[Any]"

    def __call__(self, first: int) -> list[Seed]:
        groups = (self.maps[number] for number in range(first, len(self.maps), world_size()))
        images = chain.from_iterable(groups)
        parts = self.spread(self.work, images)
        return list(chain.from_iterable(advance(parts, self.bar)))


def write_seeds(seeds: list[Seed]) -> None:
    if rank() == 0:
        table = pd.DataFrame(seeds, columns=["ref_id", "image_id", "label"])
        write_table(CRF_SEEDS, table.sort_values("ref_id"))


if __name__ == "__main__":
    app()
