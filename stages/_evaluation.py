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
    records: pd.DataFrame,
    expressions: pd.DataFrame,
    truth: pd.DataFrame,
    *,
    min_box_fraction: float,
    metrics: Path,
    folder: Path,
    about: dict[str, Any],
) -> dict[str, dict[str, float]]:
    """Reduce `records` per split and write the headline numbers and the full set; splits without records do not appear.

    `expressions` (ref_id, split) is indexed by expression_id, `truth` by ref_id. With `min_box_fraction` above 0 a split
    is followed by itself over boxes larger than that share of the image, where there are any (D56). `folder` gets
    metrics.json (every metric, counts, and `about`, how they came to be) and records.parquet.
    """
    of = expressions.loc[records["expression_id"]]
    split_of = of["split"].set_axis(records.index)
    box = truth.loc[of["ref_id"]].set_axis(records.index)
    share = (box["x1"] - box["x0"]) * (box["y1"] - box["y0"]) / (box["height"] * box["width"])
    parts = {}
    for split in in_order(split_of):
        parts[split] = records[split_of == split]
        if min_box_fraction:
            large = (split_of == split) & (share > min_box_fraction)
            parts[f"{split} (boxes over {100 * min_box_fraction:g}%)"] = records[large]
    parts = {name: part for name, part in parts.items() if len(part)}
    full = {name: summarise(part) for name, part in parts.items()}
    write_json(metrics, {name: {key: round(values[key], 4) for key in HEADLINES} for name, values in full.items()})
    with replacing(folder) as temporary:
        temporary.mkdir()
        counts = {name: len(part) for name, part in parts.items()}
        content = {**about, "masks_chose_anything": False, "expressions": counts, "metrics": full}
        (temporary / "metrics.json").write_text(json.dumps(content, indent=2) + "\n")
        records.assign(split=split_of).to_parquet(temporary / "records.parquet", index=False)
    return full


def unmeasured(expressions: int, measured: int) -> list[str]:
    """What the closing line says of expressions that no mask is known for."""
    if not measured:
        return ["no truth: nothing was measured"]
    return [f"{expressions - measured} expressions without truth not measured"] if measured < expressions else []
