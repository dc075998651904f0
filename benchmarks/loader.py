"""Batches of 48 squares of 320 px from packed shards.

The plain twin decodes and resizes the JPEG files of every batch anew.
"""

import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch import Tensor

from benchmarks._measure import bandwidth, row, seconds, show
from tris_core.data.images import read_image
from tris_core.data.packed import PackedImages, pack_images
from tris_core.data.transforms import resize_square
from tris_core.runtime.files import write_sealed_json

IMAGES, BATCH, SIZE, HEIGHT, WIDTH = 192, 48, 320, 480, 640


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        images = photographs(root)
        manifest = root / "packed.json"
        write_sealed_json(manifest, pack_images(images, root, SIZE, root / "scratch", workers=0))
        packed = PackedImages(manifest, images, root, root / "scratch", workers=0)
        rows = np.random.default_rng(0).choice(IMAGES, BATCH, replace=False)

        def decoded() -> Tensor:
            return torch.from_numpy(
                np.stack([resize_square(read_image(root / images["path"][i]), SIZE) for i in rows])
            )

        assert torch.equal(packed[rows], decoded())
        spent, twin = seconds(lambda: packed[rows], repeats=9), seconds(decoded)
        floor = 2 * BATCH * 3 * SIZE * SIZE / bandwidth()
        name, rate = f"loader {BATCH} x {SIZE} px", BATCH / spent
        show([row(name, spent, twin=twin, floor=floor, images_per_second=rate)])


def photographs(root: Path) -> pd.DataFrame:
    """JPEG files with the detail of photographs."""
    rng = np.random.default_rng(0)
    for number in range(IMAGES):
        coarse = Image.fromarray(rng.integers(0, 255, (60, 80, 3), dtype=np.uint8)).resize(
            (WIDTH, HEIGHT)
        )
        coarse.save(root / f"{number}.jpg", quality=90)
    paths = [f"{number}.jpg" for number in range(IMAGES)]
    return pd.DataFrame(
        {"image_id": range(IMAGES), "path": paths, "height": HEIGHT, "width": WIDTH}
    )
