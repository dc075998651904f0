"""Results of DVC experiments, branches and commits, read from DVC's cache without checking anything out.

The only module of the package that knows DVC.
"""

import io
import re
from dataclasses import dataclass
from typing import Any

import pandas as pd
from dvc.api import DVCFileSystem, exp_show

from tris_core.errors import InputError

SEED = re.compile(r"-(\d+)$")


@dataclass(frozen=True)
class Run:
    """One revision's records (columns of `tris_core.metrics`, with `split` and `image_id`): what evaluation wrote of it."""

    name: str
    revision: str
    records: pd.DataFrame


def group_of(name: str) -> str:
    """`no-t2v` of `no-t2v-2`: experiments that differ in their seed only end in its number."""
    return SEED.sub("", name)


def experiments() -> dict[str, str]:
    """Revision of every experiment of this repository that has a name; of equal names the newest."""
    rows: list[dict[str, Any]] = [
        row for row in exp_show(num=-1, all_branches=True) if row.get("Experiment") and row.get("rev")
    ]
    return {row["Experiment"]: row["rev"] for row in sorted(rows, key=lambda row: str(row.get("Created")))}


def read_run(name: str, revision: str, *, step: int) -> Run:
    """What `evaluate_step<step>` wrote at a revision. Raises `InputError` if its results are not in the cache."""
    files = DVCFileSystem(rev=revision)

    def table(path: str) -> pd.DataFrame:
        try:
            return pd.read_parquet(io.BytesIO(files.read_bytes(path)))
        except FileNotFoundError as error:
            raise InputError(f"{name} ({revision}): {path} is not in DVC's cache; `dvc pull` it or run it again") from error

    records = table(f"data/evaluation/step{step}/records.parquet")
    owners = table("data/index/expressions.parquet").merge(table("data/index/refs.parquet"), on="ref_id")
    return Run(name, revision, records.merge(owners[["expression_id", "image_id"]], on="expression_id", validate="one_to_one"))
