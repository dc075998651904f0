"""Batches of 48 as Step-1 and Step-2 read them: squares of 320 px, and their pseudo-labels.

The plain twin decodes and resizes the JPEG files, and the labels, of every batch anew.
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
from tris_core.data.rle import encode
from tris_core.data.transforms import resize_square
from tris_core.runtime.files import write_sealed_json
from tris_core.step2.training import TrainingLabels

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

        table = pseudo_labels()
        labels = TrainingLabels(table, SIZE)

        def labelled() -> tuple[Tensor, Tensor]:
            return decoded(), TrainingLabels(table.iloc[rows], SIZE)[np.arange(BATCH)]

        assert torch.equal(packed[rows], decoded())
        assert torch.equal(labels[rows], labelled()[1])
        rate, shown = bandwidth(), []
        for step, ours, plain, channels in (
            (1, lambda: packed[rows], decoded, 3),
            (2, lambda: (packed[rows], labels[rows]), labelled, 4),
        ):
            spent, twin = seconds(ours, repeats=9), seconds(plain)
            floor, name = 2 * BATCH * channels * SIZE * SIZE / rate, f"loader Step-{step}"
            shown.append(row(name, spent, twin=twin, floor=floor, images_per_second=BATCH / spent))
        show(shown)


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


def pseudo_labels() -> pd.DataFrame:
    """A blob a picture."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    blobs = [np.hypot(y - HEIGHT / 2, x - 3 * number) < 90 for number in range(IMAGES)]
    counts = [encode(blob) for blob in blobs]
    return pd.DataFrame({"counts": counts, "height": HEIGHT, "width": WIDTH})
