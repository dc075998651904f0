"""How time and memory of index, tables and samplers grow with the number of sentences.

Each step runs in a new process; its memory is measured beyond the imports. The sentences describe a
few thousand tiny images, so the cost of images is not included.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks import _inputs
from benchmarks._lists import write_list
from benchmarks._measure import device
from benchmarks._networks import Networks
from stages._artifacts import IMAGES, open_index
from tris_core.annotations.index import build_index, write_index
from tris_core.data.grouping import RowsByImage
from tris_core.runtime.processes import peak_memory
from tris_core.step1.negatives import CalibrationNegatives
from tris_core.training.samples import TrainingRefs

PICTURES, BATCH, K, SIZE, WIDTH = 4_000, 48, 6, 320, 1024
SAMPLED = (50_000, 500_000, 5_000_000)  # refs
TOKENS = 20  # of a sentence, at most


def lists(rows: int) -> list[dict[str, Any]]:
    """Core seconds and bytes per row of every step for a list of `rows` sentences."""
    with tempfile.TemporaryDirectory() as folder:
        write_list(Path(folder), PICTURES, rows)
        return [{"name": f"{step} {rows}", **_measured(step, rows, folder)} for step in STEPS]


def samplers() -> list[dict[str, Any]]:
    """Core milliseconds per step of the samplers.

    `ratio` compares with the fewest refs: 1 if the number of refs does not matter.
    """
    rows = [{"name": f"samplers {n} refs", **_measured("samplers", n, ".")} for n in SAMPLED]
    return [{**row, "ratio": row["ms_per_step"] / rows[0]["ms_per_step"]} for row in rows]


def standing(sentences: int) -> list[dict[str, Any]]:
    """Gigabytes for the paper's networks at `SIZE` pixels, if every sentence has its own image."""
    weights = sum(
        parameter.numel() for parameter in Networks("paper", device()).step1().parameters()
    )
    per_row = {
        "scratch: shards of images": 3 * SIZE**2,
        "memory: token ids": 4 * TOKENS,
        f"memory: sentence features of {WIDTH} channels": 4 * WIDTH,
        "memory: order of an epoch, and groups": 4 * 8,
    }
    rows = [
        {"name": f"{what}, {sentences} sentences", "gigabytes": sentences * size / 1e9}
        for what, size in per_row.items()
    ]
    # weights and AdamW's two moments, float32
    checkpoint = {"name": "scratch: checkpoint of Step-1", "gigabytes": 3 * 4 * weights / 1e9}
    return [*rows, checkpoint]


def _measured(step: str, rows: int, folder: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks._growth", step, str(rows), folder]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def _index(rows: int) -> None:
    index = build_index(Path("."), "list", "none", "list.csv")
    assert len(index.expressions) == rows
    IMAGES.parent.mkdir(parents=True)
    write_index(index, IMAGES.parent)


def _training(rows: int) -> None:
    refs = TrainingRefs.from_index(open_index(), "train")
    CalibrationNegatives(refs, K, "if_none")
    assert 0.9 * rows < len(refs.batch(0, rows, seed=0)) <= rows


def _tables(rows: int) -> None:
    index = open_index()
    table = index.joined()
    image_of = index.image_rows(table["image_id"])
    assert sum(map(len, RowsByImage(image_of))) == len(table) == rows


STEPS: dict[str, Callable[[int], None]] = {
    "index": _index,
    "training": _training,
    "tables": _tables,
}


def _sample(count: int) -> float:
    """Median core milliseconds of a step, with one ref per image.

    The first step of an epoch is left out because it draws the permutation.
    """
    refs = _inputs.refs(count, per_image=1)
    negatives = CalibrationNegatives(refs, K, "if_none")
    times = []
    for step in range(200):
        started = time.process_time()
        batch = refs.batch(step, BATCH, seed=0)
        negatives.draw(batch, refs.start[batch], np.random.default_rng(step))
        times.append(time.process_time() - started)
    return 1e3 * median(times[1:])


def measure(step: str, rows: int) -> dict[str, float]:
    """Time of a step, and its memory beyond the imports in bytes per row."""
    before, started = peak_memory(), time.process_time()
    if step == "samplers":
        spent = {"ms_per_step": _sample(rows)}
    else:
        STEPS[step](rows)
        spent = {"core_seconds": time.process_time() - started}
    return {**spent, "bytes_per_row": (peak_memory() - before) * 1e9 / rows}


if __name__ == "__main__":
    os.chdir(sys.argv[3])
    print(json.dumps(measure(sys.argv[1], int(sys.argv[2]))))
