"""How time and memory grow with the data set.

Lists of sentences (`benchmarks._growth`): a million through `index`, the tables and the samplers,
and the memory for ten million. `python -m benchmarks.scale 10000000` runs ten million.

Response maps for RefCOCO's number of expressions and for a tenth of it: written, read, selected by
PRMS, evaluated, reduced. Each step runs in its own process, on random maps and a generated index of
images of 640 x 480. The memory shown is that on top of the index. One percent of the refs is
evaluated; the records of all are reduced.
"""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from benchmarks import _growth
from benchmarks._measure import show
from tris_core.data.grouping import RowsByImage
from tris_core.data.rle import encode
from tris_core.data.truth import Truth
from tris_core.evaluation.metrics import summarise
from tris_core.evaluation.records import full_metrics, score_responses
from tris_core.prms.scores import cumulative_scores
from tris_core.responses.file import ResponseFile, raw_maps, write_responses
from tris_core.runtime.processes import peak_memory
from tris_core.step1.inference import GROUP

LIST, LONG_LIST = 1_000_000, 10_000_000
EXPRESSIONS, PER_REF, GRID, SIZE = 142_000, 3, 10, 320


def main() -> None:
    show(_growth.lists(LIST))
    show(_growth.samplers())
    show(_growth.standing(LONG_LIST))
    rows = []
    for expressions in (EXPRESSIONS // 10, EXPRESSIONS):
        with tempfile.TemporaryDirectory() as folder:
            for step in STEPS:
                command = [sys.executable, "-m", "benchmarks.scale", step, str(expressions), folder]
                done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
                rows.append({"name": f"scale {step} {expressions}", **json.loads(done.stdout)})
    show(rows)


def table_of(expressions: int) -> pd.DataFrame:
    """Three expressions per ref, five refs per two images."""
    ids = np.arange(expressions)
    refs = ids // PER_REF
    split = np.where(refs % 100, "train", "val")
    return pd.DataFrame(
        {"expression_id": ids, "ref_id": refs, "image_id": refs * 2 // 5, "split": split}
    )


def truth_of(refs: pd.DataFrame) -> Truth:
    """The same box and mask for every ref."""
    counts = encode(np.pad(np.ones((120, 160), bool), ((180, 180), (240, 240))))
    box = {"x0": 240.0, "y0": 180.0, "x1": 400.0, "y1": 300.0, "area": 19_200}
    return Truth(refs[["ref_id"]].assign(**box, height=480, width=640, counts=counts))


def write(table: pd.DataFrame, path: Path) -> None:
    rng = np.random.default_rng(0)
    with write_responses(path, SIZE) as add:
        for rows in RowsByImage(table["image_id"].to_numpy(), GROUP):
            add(table.iloc[rows], rng.normal(size=(len(rows), GRID, GRID)).astype(np.float32))


def read(table: pd.DataFrame, path: Path) -> None:
    assert sum(len(raw_maps(group)) for group in ResponseFile(path)) == len(table)


def select(table: pd.DataFrame, path: Path) -> None:
    rng, scores = np.random.default_rng(0), []
    for group in ResponseFile(path):
        similarity = rng.normal(size=(len(group), len(group))).astype(np.float32)
        refs = torch.from_numpy(group["ref_id"].to_numpy())
        score = cumulative_scores(torch.from_numpy(similarity), refs).numpy()
        scores.append(group[["ref_id", "expression_id"]].assign(score=score))
    best = pd.concat(scores, ignore_index=True).groupby("ref_id")["score"].idxmax()
    assert best.nunique() == table["ref_id"].nunique()


def evaluate(table: pd.DataFrame, path: Path) -> None:
    val = table[table["split"] == "val"]
    responses = ResponseFile(path, val["expression_id"])
    truth = truth_of(table.drop_duplicates("ref_id"))
    records = score_responses(responses, truth, size=SIZE, threshold=0.3, box_input="binary")
    assert len(records) == len(val)


def reduce(table: pd.DataFrame, path: Path) -> None:
    area = np.random.default_rng(0).integers(1, 1000, len(table))
    records = table[["expression_id"]].assign(
        intersection=area // 2, union=area, hit_mask=True, hit_box=True, acc_box=False
    )
    facts = table.set_index("expression_id").assign(box_share=0.1)
    of_val = records[(table["split"] == "val").to_numpy()]
    assert full_metrics(records, facts, {})["metrics"]["val"] == summarise(of_val)


STEPS: dict[str, Callable[[pd.DataFrame, Path], None]] = {
    "write": write,
    "read": read,
    "select": select,
    "evaluate": evaluate,
    "reduce": reduce,
}


def measure(step: str, expressions: int, path: Path) -> dict[str, float]:
    table = table_of(expressions)
    before, started = peak_memory(), time.perf_counter()
    STEPS[step](table, path)
    return {"seconds": time.perf_counter() - started, "gigabytes": peak_memory() - before}


if __name__ == "__main__":
    if len(sys.argv) == 2:
        show(_growth.lists(int(sys.argv[1])))
        sys.exit()
    responses = Path(sys.argv[3]) / "responses.parquet"
    print(json.dumps(measure(sys.argv[1], int(sys.argv[2]), responses)))
