"""Results of DVC experiments, branches and commits, read from DVC's cache without checking anything out.

The only module of the package that knows DVC.
"""

import io
import json
import re

import pandas as pd
from ruamel.yaml import YAML

from tris_core.errors import InputError
from tris_core.paper import label

try:
    from dvc.api import DVCFileSystem
    from dvc.repo import Repo
except ModuleNotFoundError as error:
    raise InputError('runs are read from DVC, which is not installed; run `pip install "dvc>=3.60,<4"`') from error

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
    files = _Files(name, revision)
    records = files.table(f"data/evaluation/step{step}/records.parquet")
    owners = files.table("data/index/expressions.parquet").merge(files.table("data/index/refs.parquet"), on="ref_id")
    chosen = records[records["split"] == split]
    if chosen.empty:
        raise InputError(f"{name} ({revision}): no split {split!r}; there are {', '.join(records['split'].unique())}")
    return chosen.merge(owners[["expression_id", "image_id"]], on="expression_id", validate="one_to_one")


def read_metrics(name: str, revision: str, *, table: str, step: int) -> tuple[str, dict[str, dict[str, float]]]:
    """What the paper calls the data set of a revision, and the metrics by split that its `table` has ("1", "2" or "4").

    Raises `InputError`, which calls the revision `name`, if they are not in the cache.
    """
    files = _Files(name, revision)
    dataset = YAML(typ="safe").load(files.read("params.yaml"))["dataset"]
    path = "metrics/prms.json" if table == "4" else f"data/evaluation/step{step}/metrics.json"
    content = json.loads(files.read(path))
    return label(dataset["name"], dataset["split_by"]), content if table == "4" else content["metrics"]


class _Files:
    """Files of a revision, from Git or from DVC's cache."""

    def __init__(self, name: str, revision: str) -> None:
        self._called, self._files = f"{name} ({revision})", DVCFileSystem(rev=revision)

    def read(self, path: str) -> bytes:
        try:
            content: bytes = self._files.read_bytes(path)
        except FileNotFoundError as error:
            raise InputError(f"{self._called}: {path} is not in DVC's cache; `dvc pull` it or run it again") from error
        return content

    def table(self, path: str) -> pd.DataFrame:
        return pd.read_parquet(io.BytesIO(self.read(path)))
