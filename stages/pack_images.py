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
    """Decode every image of the index and store it at training size in memory-mapped shards.

    Inputs: data/index (images), the image files, params pack_images and dataset. Output:
    data/packed.json, the hashes of the shards and of the image files. The shards themselves are in
    $TRIS_SCRATCH (default: the user's cache folder), outside DVC.

    1. Decode to RGB. 2. Resize to a square, bilinear. 3. Write uint8 shards and their manifest.
    """
    with run_stage("pack_images") as run:
        size, workers = run.params[PackImagesParams].side, run.runtime.workers
        images = read_table(IMAGES)
        manifest = pack_images(images, dataset_root(run), size, scratch_root(), workers=workers)
        write_sealed_json(PACKED, manifest)
        folder, gigabytes = shard_folder(scratch_root(), manifest), len(images) * 3 * size**2 / 1e9
        run.say(f"{folder}: {len(images)} images, {gigabytes:.2f} GB")


if __name__ == "__main__":
    app()
