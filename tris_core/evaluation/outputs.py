"""How both evaluation stages write what they measured."""

from pathlib import Path
from typing import Any

import pandas as pd

from stages._artifacts import EXPRESSIONS, REFS, TOKENS, TRUTH
from tris_core.evaluation.breakdowns import break_down, describe
from tris_core.evaluation.records import digests, report
from tris_core.runtime.errors import counted
from tris_core.runtime.files import replacing, write_json
from tris_core.runtime.parquet import read_table, write_table

HEADLINES = ("mIoU", "oIoU", "P@0.5", "PointM")


def write_evaluation(
    records: pd.DataFrame,
    truth: pd.DataFrame,
    judged: Path,
    metrics: Path,
    folder: Path,
    about: dict[str, Any],
    *,
    min_box_fraction: float,
) -> dict[str, dict[str, float]]:
    """Reduce `records` per split and write the headline numbers and the full set; returns the latter.

    Splits without records do not appear. `truth` is indexed by ref_id, `judged` is the file the records were made from.
    `folder` gets metrics.json (`about`, how they came to be, hashes of `judged` and of the truth, counts and every metric;
    `min_box_fraction` as `tris_core.evaluation.records.report` takes it), breakdowns.parquet (the metrics per split and group of
    `tris_core.evaluation.breakdowns`) and records.parquet.
    """
    cut = read_table(TOKENS).set_index("expression_id")["cut"]
    facts = describe(read_table(EXPRESSIONS), read_table(REFS), truth, cut)
    about = {**about, "sha256": digests(judged, TRUTH)}
    content = report(records, facts, about, min_box_fraction=min_box_fraction)
    full: dict[str, dict[str, float]] = content["metrics"]
    marked = records.assign(split=records["expression_id"].map(facts["split"]))
    breakdowns = {split: break_down(part, facts) for split, part in marked.groupby("split")}
    write_json(
        metrics,
        {
            split: {name: round(values[name], 4) for name in HEADLINES}
            for split, values in full.items()
        },
    )
    with replacing(folder) as temporary:
        temporary.mkdir()
        write_json(temporary / "metrics.json", content)
        if breakdowns:
            table = pd.concat(breakdowns, names=["split"]).reset_index("split")
            write_table(temporary / "breakdowns.parquet", table)
        write_table(temporary / "records.parquet", marked)
    return full


def unmeasured(total: int, measured: int, what: str = "expression") -> list[str]:
    """What the closing line says of expressions (or refs, by `what`) that no mask is known for."""
    if not measured:
        return ["no truth: nothing was measured"]
    return (
        [f"{counted(total - measured, what)} without truth not measured"]
        if measured < total
        else []
    )
