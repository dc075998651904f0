"""Seeds for the boundary network."""

from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from stages._artifacts import (
    CRF_SEEDS,
    IMAGES,
    PRMS,
    REFS,
    RESPONSES,
    checked_root,
)
from stages._stage import run_stage, stage_app
from tris_core.crf.params import CrfSeedsParams
from tris_core.crf.seeds import crf_labels, encode_label
from tris_core.data.images import read_image
from tris_core.refinement.params import RefineParams
from tris_core.responses.selected import Selected, SelectedMaps
from tris_core.runtime.distributed import map_over_ranks, rank, world_size
from tris_core.runtime.parquet import read_table, write_table
from tris_core.runtime.processes import map_in_processes
from tris_core.runtime.progress import progress

app = stage_app()


def seed(selected: Selected, folder: Path, crf: dict[str, Any]) -> list[dict[str, object]]:
    """Rows of crf_seeds.parquet for all refs of one image, whose file is in `folder`. Uses no torch."""
    labels = crf_labels(read_image(folder / selected.path), selected.maps, **crf)
    return [
        {"ref_id": ref_id, "image_id": selected.image_id, "label": encode_label(label)}
        for ref_id, label in zip(selected.ref_ids, labels, strict=True)
    ]


@app.command()
def main() -> None:
    """Turn the selected response map of every training ref into seeds with a dense CRF at two confidences.

    Inputs: data/index (images, refs), the image files, data/responses.parquet, data/prms.parquet,
    data/packed.json (the training size), params crf_seeds, refine.method and refine.from. Output: data/crf_seeds.parquet
    (ref_id, image_id, label: PNG of 0 background, 1 foreground, 255 ignore, at the image's own size); without rows where the
    pseudo-labels come from elsewhere.

    1. Take the selected maps to the image's size. 2. Run the CRF from the confident and from the generous foreground.
    3. What the first keeps is foreground, what the second rejects is background, the rest is ignored.
    """
    with run_stage("crf_seeds", ranks=True) as run:
        params, runtime = run.params[CrfSeedsParams], run.runtime
        instead = run.params[RefineParams].instead_of_irn
        if instead is not None:
            write_labels([])
            run.say(f"{CRF_SEEDS}: no seeds, {instead}")
            return
        images, refs = read_table(IMAGES), read_table(REFS)
        train = refs.loc[refs["split"] == "train", "ref_id"]
        maps = SelectedMaps(RESPONSES, read_table(PRMS), train, images)
        work = partial(seed, folder=checked_root(run, images), crf=params.model_dump())
        parts: Iterable[list[dict[str, object]]]
        if world_size() > 1:

            def seeds(group: list[Selected]) -> list[dict[str, object]]:
                return [
                    row
                    for rows in map_in_processes(work, group, workers=runtime.workers)
                    for row in rows
                ]

            parts = map_over_ranks(maps, seeds)
        else:
            parts = map_in_processes(
                work, (selected for group in maps for selected in group), workers=runtime.workers
            )
        rows = []
        with progress(len(train), "CRF seeds") as bar:
            for part in parts:
                rows += part
                bar.update(len(part))
        write_labels(rows)
        run.say(f"{CRF_SEEDS}: seeds for {len(rows)} refs")


def write_labels(rows: list[dict[str, object]]) -> None:
    if rank():
        return
    table = pd.DataFrame(rows, columns=["ref_id", "image_id", "label"])
    write_table(CRF_SEEDS, table.sort_values("ref_id"))


if __name__ == "__main__":
    app()
