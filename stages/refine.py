"""Refine the selected response maps into pseudo-labels."""

from pathlib import Path

import pandas as pd
import torch

from stages._inputs import image_folder
from stages._paths import IMAGES, IRN, PACKED, PRMS, PSEUDO_LABELS, REFS, RESPONSES
from stages._spread import spread_stage
from stages._stage import PARAMS, stage_app
from tris_core.data.packed import packed_size
from tris_core.data.rle import encode
from tris_core.data.supplied import supplied_labels
from tris_core.distributed import rank, spread
from tris_core.files import replacing
from tris_core.images import normalise, read_image, to_tensor
from tris_core.models.checkpoints import load_weights, read_config
from tris_core.models.clip_sources import load_clip
from tris_core.models.irn import build_irn
from tris_core.models.irn_backbone import boundaries, freeze_at_stride_16
from tris_core.params.base import load_section
from tris_core.params.refine import RefineParams
from tris_core.params.runtime import RuntimeParams
from tris_core.progress import progress
from tris_core.refinement.instances import refine_maps
from tris_core.runtime import pick_device, place
from tris_core.selection import Selected, SelectedMaps

app = stage_app()


@app.command()
def main() -> None:
    """Let every selected map walk along the boundaries of its image, and threshold it.

    Inputs: data/index/{images,refs}.parquet, the image files, data/responses.parquet, data/prms.parquet, models/irn,
    data/packed.json (the training size), params refine. Output: data/pseudo_labels.parquet (ref_id, height, width, counts: COCO
    run-length code), one row per training ref. With refine.from pseudo-labels made elsewhere are checked and copied instead.

    1. Find boundaries and displacements of an image once. 2. Walk all its maps together. 3. Keep what is above the threshold.
    """
    with spread_stage("refine") as say:
        params = load_section(PARAMS, RefineParams)
        images, refs = pd.read_parquet(IMAGES), pd.read_parquet(REFS)
        if params.source is not None:
            write_labels(supplied_labels(Path(params.source), refs, images))
            say(f"{PSEUDO_LABELS}: taken from {params.source}")
            return
        device = pick_device(load_section(PARAMS, RuntimeParams))
        config = read_config(IRN)
        irn = build_irn(config)
        load_weights(irn, IRN)
        place(irn.eval(), device)
        visual = place(freeze_at_stride_16(load_clip(config["clip"]).visual), device)
        train = refs.loc[refs["split"] == "train", "ref_id"]
        maps = SelectedMaps(RESPONSES, pd.read_parquet(PRMS), train, images, size=packed_size(PACKED))
        folder = image_folder()
        walk = params.model_dump(exclude={"threshold", "source"})

        def refine_image(selected: Selected) -> list[dict[str, object]]:
            image = normalise(to_tensor(read_image(folder / selected.path))[None].to(device))[0]
            edge, displacement = boundaries(visual, irn, image)
            walked = refine_maps(torch.from_numpy(selected.maps).to(device), edge, displacement, **walk)
            masks = (walked > params.threshold).cpu().numpy()
            height, width = masks.shape[1:]
            return [
                {"ref_id": ref_id, "height": height, "width": width, "counts": encode(mask)}
                for ref_id, mask in zip(selected.ref_ids, masks, strict=True)
            ]

        def refine(group: list[Selected]) -> list[dict[str, object]]:
            return [label for selected in group for label in refine_image(selected)]

        rows = []
        with progress(len(train), "walk") as bar:
            for labels in spread(maps, refine):
                rows += labels
                bar.update(len(labels))
        write_labels(pd.DataFrame(rows))
        say(f"{PSEUDO_LABELS}: {len(rows)} pseudo-labels")


def write_labels(table: pd.DataFrame) -> None:
    if rank():
        return
    with replacing(PSEUDO_LABELS) as temporary:
        table.sort_values("ref_id").to_parquet(temporary, index=False)


if __name__ == "__main__":
    app()
