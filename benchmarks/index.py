"""Indexing annotations of RefCOCO's size: 20,000 images, 50,000 refs, 142,000 expressions, a polygon each.

The annotations are generated in refer's layout in a temporary folder, all images hard links to one JPEG file; the index is
built and written by a process of its own, whose time and peak memory are what is measured.
"""

import json
import os
import pickle
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

IMAGES, REFS, EXPRESSIONS = 20_000, 50_000, 142_000
HEIGHT, WIDTH, CORNERS = 480, 640, 24


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        write_annotations(Path(folder))
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.index", folder], stdout=subprocess.PIPE, check=True
        )
    from benchmarks._measure import (
        show,  # with torch, which the process that is measured does not import
    )

    show([json.loads(done.stdout)])


def write_annotations(root: Path) -> None:
    """A refer data set under `root`: every ref an irregular polygon of `CORNERS` corners, sentences of five words."""
    rng = np.random.default_rng(0)
    photos, folder = root / "train2014", root / "refer" / "refcoco"
    photos.mkdir()
    folder.mkdir(parents=True)
    first = photos / "0.jpg"
    Image.fromarray(rng.integers(0, 255, (HEIGHT // 40, WIDTH // 40, 3), dtype=np.uint8)).resize(
        (WIDTH, HEIGHT)
    ).save(first)
    for image_id in range(1, IMAGES):
        os.link(first, photos / f"{image_id}.jpg")
    images = [
        {"id": i, "file_name": f"{i}.jpg", "height": HEIGHT, "width": WIDTH} for i in range(IMAGES)
    ]

    angle = np.linspace(0, 2 * np.pi, CORNERS, endpoint=False)
    annotations, refs = [], []
    count = np.full(REFS, EXPRESSIONS // REFS) + (np.arange(REFS) < EXPRESSIONS % REFS)
    start = np.concatenate([[0], count.cumsum()])
    for ref_id in range(REFS):
        radius = rng.uniform(20, 90, CORNERS)
        centre = rng.uniform((100, 100), (WIDTH - 100, HEIGHT - 100))
        corners = centre + radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
        low, high = corners.min(0), corners.max(0)
        box, polygon = [*low.tolist(), *(high - low).tolist()], corners.round(2).ravel().tolist()
        image_id = ref_id % IMAGES
        annotations.append(
            {
                "id": ref_id,
                "image_id": image_id,
                "category_id": 1,
                "bbox": box,
                "segmentation": [polygon],
            }
        )
        sentences = [
            {"sent_id": i, "sent": f"the thing number {i} here"}
            for i in range(start[ref_id], start[ref_id + 1])
        ]
        split = "train" if ref_id % 10 else "val"
        refs.append(
            {
                "ref_id": ref_id,
                "ann_id": ref_id,
                "image_id": image_id,
                "category_id": 1,
                "split": split,
                "sentences": sentences,
            }
        )
    content = {
        "images": images,
        "annotations": annotations,
        "categories": [{"id": 1, "name": "thing"}],
    }
    (folder / "instances.json").write_text(json.dumps(content))
    (folder / "refs(unc).p").write_bytes(pickle.dumps(refs, protocol=2))


def measure(root: Path) -> dict[str, object]:
    """Build and write the index of the data set under `root`."""
    from tris_core.annotations.index import build_index, write_index

    started, started_core = time.perf_counter(), time.process_time()
    index = build_index(root, "refcoco", "unc", "refer/refcoco")
    write_index(index, root / "index")
    seconds, core_seconds = time.perf_counter() - started, time.process_time() - started_core
    assert len(index.expressions) == EXPRESSIONS
    gigabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    name = f"index {EXPRESSIONS} expressions"
    return {"name": name, "seconds": seconds, "core_seconds": core_seconds, "gigabytes": gigabytes}


if __name__ == "__main__":
    print(json.dumps(measure(Path(sys.argv[1]))))
