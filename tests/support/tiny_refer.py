"""A tiny data set in refer's layout. Tests change its rows before writing it."""

import json
import pickle
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

Row = dict[str, Any]


def square(x: float, y: float, side: float = 10) -> list[float]:
    return [x, y, x + side, y, x + side, y + side, x, y + side]


def ref(ref_id: int, ann_id: int, image_id: int, split: str, texts: dict[int, str]) -> Row:
    return {
        "sent_ids": list(texts),
        "file_name": f"img_{image_id}_{ann_id}.jpg",
        "ann_id": ann_id,
        "ref_id": ref_id,
        "image_id": image_id,
        "split": split,
        "sentences": [
            {"tokens": text.split(), "raw": text.upper(), "sent_id": i, "sent": text}
            for i, text in texts.items()
        ],
        "category_id": 3,
    }


def annotation(ann_id: int, image_id: int, segmentation: Any) -> Row:
    return {
        "id": ann_id,
        "image_id": image_id,
        "category_id": 3,
        "segmentation": segmentation,
        "bbox": [4.5, 6.0, 10.25, 12.0],
        "area": 100.0,
        "iscrowd": 0,
    }


def dataset_params(root: Path | str) -> dict[str, str]:
    """The section `dataset` of params.yaml for a `TinyRefer` written to `root`."""
    annotations = "refer/refcocog"
    return {"name": "refcocog", "split_by": "umd", "root": str(root), "annotations": annotations}


@dataclass
class TinyRefer:
    """Three images (one greyscale, one without refs), four refs, six sentences."""

    images: list[Row] = field(
        default_factory=lambda: [
            {"id": 70, "file_name": "b.jpg", "height": 40, "width": 60},
            {"id": 7, "file_name": "grey.jpg", "height": 50, "width": 30},
            {"id": 700, "file_name": "unused.jpg", "height": 20, "width": 20},
        ]
    )
    annotations: list[Row] = field(
        default_factory=lambda: [
            annotation(1, 70, [square(4, 6)]),
            annotation(2, 70, [square(20, 6), square(40, 20)]),
            annotation(3, 7, [square(10, 30)]),
            annotation(4, 70, [square(0, 0, 5)]),
            {"id": 5, "image_id": 700},  # no ref points to it
        ]
    )
    refs: list[Row] = field(
        default_factory=lambda: [
            ref(12, 3, 7, "val", {5: "grey thing", 4: "the only one"}),
            ref(10, 1, 70, "train", {0: "left square"}),
            ref(11, 2, 70, "train", {2: "two squares", 1: "right one"}),
            ref(13, 4, 70, "testA", {3: "corner"}),
        ]
    )

    def write(self, root: Path, name: str = "refcocog", split_by: str = "umd") -> Path:
        """Write images, instances.json and refs(<split_by>).p under `root`; return `root`."""
        photos = root / ("images" if name == "shapes" else "train2014")
        folder = root / "refer" / name
        photos.mkdir(parents=True)
        folder.mkdir(parents=True)
        rng = np.random.default_rng(0)
        for row in TinyRefer().images:
            pixels = rng.integers(0, 255, (row["height"], row["width"], 3), dtype=np.uint8)
            mode = "L" if row["file_name"] == "grey.jpg" else "RGB"
            Image.fromarray(pixels).convert(mode).save(photos / row["file_name"])
        instances = {
            "images": self.images,
            "annotations": self.annotations,
            "categories": [{"id": 3, "name": "square"}],
        }
        (folder / "instances.json").write_text(json.dumps(instances))
        (folder / f"refs({split_by}).p").write_bytes(pickle.dumps(self.refs, protocol=2))
        return root
