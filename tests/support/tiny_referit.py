"""A tiny data set in ReferIt's layout. Tests change its rows before writing it."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tris_core.data import rle

HEIGHT, WIDTH = 12, 16
FOLDER = "referit/annotations"


def runs(*area: slice) -> dict[str, Any]:
    """An RLE mask with at most one rectangle."""
    mask = np.zeros((HEIGHT, WIDTH), bool)
    if area:
        mask[area] = True
    return {"size": [HEIGHT, WIDTH], "counts": rle.encode(mask)}


def row(image_id: str, query: str, sen_id: int, *segmentation: dict[str, Any]) -> dict[str, Any]:
    box = [[1.5, 2.0, 8.0, 9.25]]
    return {
        "image_id": image_id,
        "query": query,
        "bbox": box,
        "segmentation": list(segmentation),
        "sen_id": sen_id,
    }


class Tiny:
    """Two images, three training annotations (one on a test image) and one test annotation."""

    def __init__(self) -> None:
        square = runs(slice(2, 6), slice(3, 9))
        overlapping = runs(slice(4, 10), slice(3, 5))
        self.train = {
            "40": {
                "annotations": [
                    row("40", "left hut", 9, square, overlapping),
                    row("40", "sky", 3, square),
                ]
            },
            "7": {"annotations": [row("7", "the boy", 5, square)]},
        }
        self.test = {"7": {"annotations": [row("7", "tree", 3, square)]}}

    def write(self, root: Path) -> Path:
        (root / FOLDER).mkdir(parents=True)
        (root / "referit/images").mkdir()
        for name in ("40", "7"):
            Image.new("RGB", (WIDTH, HEIGHT)).save(root / f"referit/images/{name}.jpg")
        for split in ("train", "test"):
            (root / FOLDER / f"{split}.pickle").write_bytes(
                pickle.dumps(getattr(self, split), protocol=2)
            )
        return root
