"""Decode and resize every image once."""

from stages._artifacts import IMAGES, PACKED, image_folder
from stages._stage import PARAMS, stage, stage_app
from tris_core.data.packed import pack_images, shard_folder
from tris_core.data.params import PackImagesParams
from tris_core.runtime.errors import counted
from tris_core.runtime.files import write_sealed_json
from tris_core.runtime.params import RuntimeParams, load_section
from tris_core.runtime.parquet import read_table
from tris_core.runtime.scratch import scratch_root

app = stage_app()


@app.command()
def main() -> None:
    """Decode every image of the index, resize it to the training size and keep it in memory-mapped shards.

    Inputs: data/index/images.parquet, the image files, params pack_images and dataset. Output: data/packed.json, the hashes
    of the shards and of the image files; the shards are in $TRIS_SCRATCH (default: the user's cache folder), outside DVC.

    1. Decode to RGB. 2. Resize to a square, bilinear. 3. Write uint8 shards and their manifest.
    """
    with stage("pack_images") as say:
        params, runtime = (
            load_section(PARAMS, PackImagesParams),
            load_section(PARAMS, RuntimeParams),
        )
        images = read_table(IMAGES)
        manifest = pack_images(
            images, image_folder(), params.size, scratch_root(), workers=runtime.workers
        )
        write_sealed_json(PACKED, manifest)
        gigabytes = len(images) * params.size**2 * 3 / 1e9
        say(
            f"{shard_folder(scratch_root(), manifest)}: {counted(len(images), 'image')}, {gigabytes:.2f} GB"
        )


if __name__ == "__main__":
    app()
