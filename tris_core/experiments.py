"""Results of DVC experiments, branches and commits, read from DVC's cache without checking anything out.

The only module of the package that knows DVC.
"""

import io
import re

import pandas as pd
from dvc.api import DVCFileSystem
from dvc.repo import Repo

from tris_core.errors import InputError

SEED = re.compile(r"-(\d+)$")


def group_of(name: str) -> str:
    """`no-t2v` of `no-t2v-2`: experiments that differ in their seed only end in its number."""
    return SEED.sub("", name)


def experiments(baseline: str) -> dict[str, str]:
    """Revision by name of every finished experiment that started from the commit `baseline`."""
    with Repo() as repo:
        return {name: revision for found in repo.experiments.ls(rev=baseline).values() for name, revision in found}


def read_run(name: str, revision: str, *, step: int, split: str) -> pd.DataFrame:
    """Records (columns of `tris_core.metrics`, split, image_id) that `evaluate_step<step>` wrote of a split at a revision.

    Raises `InputError`, which calls the revision `name`, if its results are not in the cache or lack the split.
    """
    files = DVCFileSystem(rev=revision)

    def table(path: str) -> pd.DataFrame:
        try:
            return pd.read_parquet(io.BytesIO(files.read_bytes(path)))
        except FileNotFoundError as error:
            raise InputError(f"{name} ({revision}): {path} is not in DVC's cache; `dvc pull` it or run it again") from error

    records = table(f"data/evaluation/step{step}/records.parquet")
    owners = table("data/index/expressions.parquet").merge(table("data/index/refs.parquet"), on="ref_id")
    chosen = records[records["split"] == split]
    if chosen.empty:
        raise InputError(f"{name} ({revision}): no split {split!r}; there are {', '.join(records['split'].unique())}")
    return chosen.merge(owners[["expression_id", "image_id"]], on="expression_id", validate="one_to_one")
