"""How both evaluation stages write what they measured."""

import json
from pathlib import Path
from typing import Any

import pandas as pd

from tris_core.files import replacing, write_json
from tris_core.metrics import summarise

HEADLINES = ("mIoU", "oIoU", "P@0.5", "PointM")
SPLIT_ORDER = ("train", "val", "test", "testA", "testB")


def in_order(splits: "pd.Series[str]") -> list[str]:
    """The splits that occur, in the order people expect."""
    return sorted(splits.unique(), key=lambda s: (SPLIT_ORDER.index(s) if s in SPLIT_ORDER else len(SPLIT_ORDER), s))


def write_evaluation(
    records: pd.DataFrame, splits: "pd.Series[str]", metrics: Path, folder: Path, about: dict[str, Any]
) -> dict[str, dict[str, float]]:
    """Reduce `records` per split (`splits`: by expression_id) and write the headline numbers and the full set.

    `folder` gets metrics.json (every metric, counts, and `about`, how they came to be) and records.parquet.
    """
    split_of = records["expression_id"].map(splits)
    full = {split: summarise(records[split_of == split]) for split in in_order(split_of)}
    counts = {split: int((split_of == split).sum()) for split in full}
    write_json(metrics, {split: {name: round(values[name], 4) for name in HEADLINES} for split, values in full.items()})
    with replacing(folder) as temporary:
        temporary.mkdir()
        content = {**about, "masks_chose_anything": False, "expressions": counts, "metrics": full}
        (temporary / "metrics.json").write_text(json.dumps(content, indent=2) + "\n")
        records.assign(split=split_of).to_parquet(temporary / "records.parquet", index=False)
    return full
