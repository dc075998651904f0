"""How time and memory grow with the data set.

Lists of sentences (`benchmarks._growth`): a million through `index`, the tables and the samplers, and what ten million take.
`python -m benchmarks.scale 10000000` sends ten million.

Response maps of RefCOCO's number of expressions, and of a tenth: written, read, selected by PRMS, judged, reduced.
Each step runs in a process of its own on random maps and a generated index of images of 640 x 480; what is shown beside its
time is the memory it takes on top of the index. Only a split of a hundredth of the refs is judged; records of all are reduced.
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from benchmarks import _growth
from benchmarks._measure import show
from tris_core.data.grouping import RowsByImage
from tris_core.data.rle import encode
from tris_core.evaluation.metrics import summarise
from tris_core.evaluation.records import report, score_responses
from tris_core.prms.scores import cumulative_scores
from tris_core.responses.file import ResponseFile, raw_maps, write_responses
from tris_core.runtime.processes import peak_memory
from tris_core.step1.inference import GROUP

LIST, LONG_LIST = 1_000_000, 10_000_000
EXPRESSIONS, PER_REF, GRID, SIZE = 142_000, 3, 10, 320
STEPS = ("write", "read", "select", "judge", "reduce")


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
    """Three expressions for every ref, five refs on every two images."""
    ids = np.arange(expressions)
    refs = ids // PER_REF
    split = np.where(refs % 100, "train", "val")
    return pd.DataFrame(
        {"expression_id": ids, "ref_id": refs, "image_id": refs * 2 // 5, "split": split}
    )


def measure(step: str, expressions: int, path: Path) -> dict[str, float]:
    rng, table = np.random.default_rng(0), table_of(expressions)
    refs = table.drop_duplicates("ref_id")
    counts = encode(np.pad(np.ones((120, 160), bool), ((180, 180), (240, 240))))
    boxes = {
        "x0": 240.0,
        "y0": 180.0,
        "x1": 400.0,
        "y1": 300.0,
        "area": 19_200,
        "height": 480,
        "width": 640,
        "counts": counts,
    }
    truth = refs[["ref_id"]].assign(**boxes).set_index("ref_id")
    before, started = peak_memory(), time.perf_counter()
    if step == "write":
        with write_responses(path, SIZE) as write:
            for rows in RowsByImage(table["image_id"].to_numpy(), GROUP):
                write(table.iloc[rows], rng.normal(size=(len(rows), GRID, GRID)).astype(np.float32))
    elif step == "read":
        assert sum(len(raw_maps(group)) for group in ResponseFile(path)) == expressions
    elif step == "select":
        scores = []
        for group in ResponseFile(path):
            similarity = torch.from_numpy(
                rng.normal(size=(len(group), len(group))).astype(np.float32)
            )
            score = cumulative_scores(
                similarity, torch.from_numpy(group["ref_id"].to_numpy())
            ).numpy()
            scores.append(group[["ref_id", "expression_id"]].assign(score=score))
        made = pd.concat(scores, ignore_index=True)
        assert made.groupby("ref_id")["score"].idxmax().nunique() == len(refs)
    elif step == "judge":
        val = ResponseFile(path, table.loc[table["split"] == "val", "expression_id"])
        judged = score_responses(val, truth, size=SIZE, threshold=0.3, box_input="binary")
        assert len(judged) == (table["split"] == "val").sum()
    else:
        area = rng.integers(1, 1000, expressions)
        records = table[["expression_id"]].assign(
            intersection=area // 2, union=area, hit_mask=True, hit_box=True, acc_box=False
        )
        facts = table.set_index("expression_id").assign(box_share=0.1)
        content = report(records, facts, {})
        assert content["metrics"]["val"] == summarise(records[(table["split"] == "val").to_numpy()])
    return {"seconds": time.perf_counter() - started, "gigabytes": peak_memory() - before}


if __name__ == "__main__":
    if len(sys.argv) == 2:
        show(_growth.lists(int(sys.argv[1])))
        sys.exit()
    print(
        json.dumps(measure(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]) / "responses.parquet"))
    )
