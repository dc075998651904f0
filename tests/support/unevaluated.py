"""A run that lacks only evaluation, made in seconds.

Its responses and pseudo-labels are random, and Step-2 is untrained.
"""

from pathlib import Path

import numpy as np
import pytest

import stages.draw_sheets
import stages.evaluate_labels
import stages.evaluate_prms
import stages.evaluate_step1
import stages.evaluate_step2
import stages.index
import stages.pack_images
import stages.predict_step2
import stages.prepare_clip
import stages.train_step2
from stages._artifacts import PRMS, PSEUDO_LABELS, RESPONSES, STEP1, open_index
from tests.support.in_process import enter, run, write_params
from tris_core.data.rle import encode
from tris_core.responses.file import write_responses
from tris_core.runtime.parquet import write_table
from tris_core.shapes.dataset import write_shapes

EVALUATIONS = (
    stages.evaluate_step1,
    stages.evaluate_prms,
    stages.evaluate_labels,
    stages.predict_step2,
    stages.evaluate_step2,
    stages.draw_sheets,
)


def make_unevaluated(patch: pytest.MonkeyPatch, folder: Path) -> None:
    """Fill `folder`, which stays the working directory until `patch` ends."""
    enter(patch, folder)
    write_params(
        {
            "pack_images": {"side": 64},
            "train_step2": {"steps": 0, "width": 8},
            "predict_step2": {"threshold": -0.1},
        }
    )
    write_shapes(Path("data/shapes"), train=3, val=2, test=2, seed=0)
    for module in (stages.index, stages.pack_images, stages.prepare_clip):
        run(module)
    rng = np.random.default_rng(0)
    index = open_index()
    table = index.joined()
    maps = [rng.normal(size=4).astype(np.float32) for _ in range(len(table))]
    columns = table[["expression_id", "ref_id", "image_id", "split"]]
    with write_responses(RESPONSES, 64) as write:
        write(columns, np.stack(maps).reshape(-1, 2, 2))
    selected = ~table["ref_id"].duplicated()
    write_table(PRMS, table[["ref_id", "expression_id"]].assign(score=0.0, selected=selected))
    train = index.refs[index.refs["split"] == "train"]
    labels = train.merge(index.images, on="image_id")[["ref_id", "height", "width"]]
    labels["counts"] = [
        encode(rng.random((row.height, row.width)) < 0.5) for row in labels.itertuples()
    ]
    write_table(PSEUDO_LABELS, labels)
    run(stages.train_step2)
    STEP1.mkdir()
    (STEP1 / "config.json").write_text('{"size": 64}')
