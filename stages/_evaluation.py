"""How both evaluation stages write what they measured."""

from pathlib import Path
from typing import Any

import pandas as pd

from stages._paths import EXPRESSIONS, REFS, TRUTH
from tris_core.breakdowns import break_down, describe
from tris_core.evaluation import digests, report
from tris_core.files import replacing, write_json

HEADLINES = ("mIoU", "oIoU", "P@0.5", "PointM")


def write_evaluation(
    records: pd.DataFrame, judged: Path, metrics: Path, folder: Path, about: dict[str, Any]
) -> dict[str, dict[str, float]]:
    """Reduce `records` per split and write the headline numbers and the full set; returns the latter.

    `judged` is the file the records were made from. `folder` gets metrics.json (`about`, how they came to be, hashes of
    `judged` and of the truth, counts and every metric), breakdowns.parquet (the metrics per split and group of
    `tris_core.breakdowns`) and records.parquet.
    """
    truth = pd.read_parquet(TRUTH).set_index("ref_id")
    facts = describe(pd.read_parquet(EXPRESSIONS), pd.read_parquet(REFS), truth)
    content = report(records, facts, {**about, "masks_chose_anything": False, "sha256": digests(judged, TRUTH)})
    full: dict[str, dict[str, float]] = content["metrics"]
    marked = records.assign(split=records["expression_id"].map(facts["split"]))
    parts = {split: break_down(marked[marked["split"] == split], facts) for split in full}
    breakdowns = pd.concat(parts, names=["split"]).reset_index("split").reset_index(drop=True)
    write_json(metrics, {split: {name: round(values[name], 4) for name in HEADLINES} for split, values in full.items()})
    with replacing(folder) as temporary:
        temporary.mkdir()
        write_json(temporary / "metrics.json", content)
        breakdowns.to_parquet(temporary / "breakdowns.parquet", index=False)
        marked.to_parquet(temporary / "records.parquet", index=False)
    return full
