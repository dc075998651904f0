"""Decode and resize every image once."""

from stages._artifacts import IMAGES, PACKED, dataset_root
from stages._stage import run_stage, stage_app
from tris_core.data.packed import pack_images, shard_folder
from tris_core.data.params import PackImagesParams
from tris_core.runtime.files import write_sealed_json
from tris_core.runtime.parquet import read_table
from tris_core.runtime.scratch import scratch_root

app = stage_app()


@app.command()
def main() -> None:
    """Decode every image of the index, resize it to the training size and keep it in memory-mapped shards.

    Inputs: data/index (images), the image files, params pack_images and dataset. Output: data/packed.json, the hashes
    of the shards and of the image files; the shards are in $TRIS_SCRATCH (default: the user's cache folder), outside DVC.

    1. Decode to RGB. 2. Resize to a square, bilinear. 3. Write uint8 shards and their manifest.
    """
    with run_stage("pack_images") as run:
        params, runtime = (
            run.params[PackImagesParams],
            run.runtime,
        )
        images = read_table(IMAGES)
        manifest = pack_images(
            images, dataset_root(run), params.size, scratch_root(), workers=runtime.workers
        )
        write_sealed_json(PACKED, manifest)
        run.say(
            f"{shard_folder(scratch_root(), manifest)}: {len(images)} images, {len(images) * params.size**2 * 3 / 1e9:.2f} GB"
        )


if __name__ == "__main__":
    app()
