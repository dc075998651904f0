"""Index annotations of RefCOCO's size: 20,000 images, 50,000 refs, 142,000 expressions.

The annotations, one polygon per ref, are generated in refer's layout in a temporary folder. All
images are hard links to one JPEG file. A new process builds and writes the index; its time and peak
memory are measured.
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
from typing import Any

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
    from benchmarks._measure import show  # imports torch, which the measured process must not

    show([json.loads(done.stdout)])


def write_annotations(root: Path) -> None:
    """Write a refer data set: irregular polygons of `CORNERS` corners, sentences of five words."""
    rng = np.random.default_rng(0)
    images = write_images(root / "train2014", rng)
    annotations = [annotation(ref_id, rng) for ref_id in range(REFS)]
    count = np.full(REFS, EXPRESSIONS // REFS) + (np.arange(REFS) < EXPRESSIONS % REFS)
    start = np.concatenate([[0], count.cumsum()])
    refs = [ref(ref_id, range(start[ref_id], start[ref_id + 1])) for ref_id in range(REFS)]
    categories = [{"id": 1, "name": "thing"}]
    instances = {"images": images, "annotations": annotations, "categories": categories}
    folder = root / "refer" / "refcoco"
    folder.mkdir(parents=True)
    (folder / "instances.json").write_text(json.dumps(instances))
    (folder / "refs(unc).p").write_bytes(pickle.dumps(refs, protocol=2))


def write_images(folder: Path, rng: np.random.Generator) -> list[dict[str, Any]]:
    """Write one JPEG file and link all images to it; return their rows of instances.json."""
    folder.mkdir()
    first = folder / "0.jpg"
    blocks = rng.integers(0, 255, (HEIGHT // 40, WIDTH // 40, 3), dtype=np.uint8)
    Image.fromarray(blocks).resize((WIDTH, HEIGHT)).save(first)
    for image_id in range(1, IMAGES):
        os.link(first, folder / f"{image_id}.jpg")
    size = {"height": HEIGHT, "width": WIDTH}
    return [{"id": i, "file_name": f"{i}.jpg", **size} for i in range(IMAGES)]


def annotation(ref_id: int, rng: np.random.Generator) -> dict[str, Any]:
    angle = np.linspace(0, 2 * np.pi, CORNERS, endpoint=False)
    radius = rng.uniform(20, 90, CORNERS)
    centre = rng.uniform((100, 100), (WIDTH - 100, HEIGHT - 100))
    corners = centre + radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    low, high = corners.min(0), corners.max(0)
    return {
        "id": ref_id,
        "image_id": ref_id % IMAGES,
        "category_id": 1,
        "bbox": [*low.tolist(), *(high - low).tolist()],
        "segmentation": [corners.round(2).ravel().tolist()],
    }


def ref(ref_id: int, sent_ids: range) -> dict[str, Any]:
    return {
        "ref_id": ref_id,
        "ann_id": ref_id,
        "image_id": ref_id % IMAGES,
        "category_id": 1,
        "split": "train" if ref_id % 10 else "val",
        "sentences": [{"sent_id": i, "sent": f"the thing number {i} here"} for i in sent_ids],
    }


def measure(root: Path) -> dict[str, object]:
    """Build and write the index of the data set in `root`."""
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
