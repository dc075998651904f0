"""What the evaluation stages write."""

from pathlib import Path
from typing import Any

import pandas as pd

from tris_core.evaluation.breakdowns import break_down
from tris_core.evaluation.records import full_metrics
from tris_core.runtime.errors import counted
from tris_core.runtime.files import replacing, write_json
from tris_core.runtime.parquet import write_table

HEADLINES = ("mIoU", "oIoU", "P@0.5", "PointM")
Metrics = dict[str, dict[str, float]]  # by split and name, in [0, 1]


def write_evaluation(
    folder: Path,
    records: pd.DataFrame,
    facts: pd.DataFrame,
    about: dict[str, Any],
    *,
    min_box_fraction: float,
) -> Metrics:
    """Reduce records to metrics per split, and write both to `folder`.

    The folder gets metrics.json (`full_metrics`), breakdowns.parquet (metrics per split and kind
    of expression) and records.parquet. Splits without records are left out.

    Args:
        records, facts, about, min_box_fraction: as in
            `tris_core.evaluation.records.full_metrics`.
    """
    content = full_metrics(records, facts, about, min_box_fraction=min_box_fraction)
    marked = records.assign(split=records["expression_id"].map(facts["split"]))
    breakdowns = {split: break_down(part, facts) for split, part in marked.groupby("split")}
    with replacing(folder) as temporary:
        temporary.mkdir()
        write_json(temporary / "metrics.json", content)
        if breakdowns:
            table = pd.concat(breakdowns, names=["split"]).reset_index("split")
            write_table(temporary / "breakdowns.parquet", table)
        write_table(temporary / "records.parquet", marked)
    metrics: Metrics = content["metrics"]
    return metrics


def write_headlines(path: Path, metrics: Metrics) -> None:
    """Write the metrics that `dvc metrics` shows, rounded to four digits."""
    headlines = {
        split: {name: round(values[name], 4) for name in HEADLINES}
        for split, values in metrics.items()
    }
    write_json(path, headlines)


def unmeasured(total: int, measured: int, what: str = "expression") -> list[str]:
    """A clause of the closing line about expressions (or refs) without a true mask, if any."""
    if not measured:
        return ["no truth: nothing was measured"]
    missed = counted(total - measured, what)
    return [f"{missed} without truth not measured"] if measured < total else []
