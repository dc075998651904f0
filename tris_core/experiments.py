"""Results of DVC experiments, branches and commits, read from DVC's cache without checking anything out.

The only module of the package that knows DVC.
"""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd
from ruamel.yaml import YAML

from tris_core.errors import InputError
from tris_core.paper import label

try:
    from dvc.api import DVCFileSystem
    from dvc.exceptions import DvcException
    from dvc.repo import Repo
    from dvc.scm import map_scm_exception, resolve_rev
except ModuleNotFoundError as error:
    raise InputError('runs are read from DVC, which is not installed; run `pip install "dvc>=3.60,<4"`') from error

SEED = re.compile(r"-(\d+)$")
WORKSPACE = "workspace"  # as DVC calls it


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
    with open_files(name, revision) as files:
        records = pd.read_parquet(_needed(files, f"data/evaluation/step{step}/records.parquet"))
        expressions, refs = (pd.read_parquet(_needed(files, f"data/index/{of}.parquet")) for of in ("expressions", "refs"))
    chosen = records[records["split"] == split]
    if chosen.empty:
        raise InputError(f"{name} ({revision}): no split {split!r}; there are {', '.join(records['split'].unique())}")
    owners = expressions.merge(refs, on="ref_id")
    return chosen.merge(owners[["expression_id", "image_id"]], on="expression_id", validate="one_to_one")


def read_metrics(name: str, revision: str, *, table: str, step: int) -> tuple[str, dict[str, dict[str, float]]]:
    """What the paper calls the data set of a revision, and the metrics by split that its `table` has ("1", "2" or "4").

    Raises `InputError`, which calls the revision `name`, if they are not in the cache.
    """
    with open_files(name, revision) as files:
        dataset = YAML(typ="safe").load(_needed(files, "params.yaml"))["dataset"]
        path = "metrics/prms.json" if table == "4" else f"data/evaluation/step{step}/metrics.json"
        content = json.loads(_needed(files, path).read_text())
    return label(dataset["name"], dataset["split_by"]), content if table == "4" else content["metrics"]


class RunFiles:
    """Files of a revision, fetched from Git or from DVC's cache into `folder` as they are asked for.

    The revision `WORKSPACE` is the current folder as it is: nothing is fetched, and neither Git nor DVC needs to know it.
    """

    def __init__(self, name: str, revision: str, folder: Path) -> None:
        """Raises `InputError`, which calls the revision `name`, if there is none of that name."""
        self.name, self.revision = name, revision
        self._folder, self._files = folder, None
        if revision != WORKSPACE:
            try:
                with Repo() as repo:
                    resolve_rev(repo.scm, revision)
            except DvcException as error:
                raise InputError(f"{name}: no experiment, branch or commit is called {revision} here ({error})") from error
            self._files = DVCFileSystem(rev=revision)

    def find(self, path: str) -> Path | None:
        """Where the file lies now; None if the revision has none, or its content is not in the cache."""
        if self._files is None:
            return Path(path) if Path(path).is_file() else None
        target = self._folder / path
        if not target.is_file():
            try:
                content: bytes = self._files.read_bytes(path)
            except FileNotFoundError:
                return None
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
        return target

    def commit(self) -> str:
        """Hash, date and subject of its commit, and whether files were changed since."""
        try:
            with Repo() as repo, map_scm_exception():
                found = repo.scm.resolve_commit("HEAD" if self._files is None else resolve_rev(repo.scm, self.revision))
                changed = self._files is None and repo.scm.is_dirty()
        except DvcException as error:
            return f"unknown ({error})"
        when = datetime.fromtimestamp(found.commit_time, UTC).date()
        clause = ", with changes that are not committed" if changed else ""
        return f"{found.hexsha[:12]} of {when}{clause}: {found.message.splitlines()[0]}"


@contextmanager
def open_files(name: str, revision: str) -> Iterator[RunFiles]:
    """The files of a revision, in a temporary folder that is gone after the block."""
    with TemporaryDirectory() as folder:
        yield RunFiles(name, revision, Path(folder))


def _needed(files: RunFiles, path: str) -> Path:
    found = files.find(path)
    if found is None:
        raise InputError(f"{files.name} ({files.revision}): {path} is not in DVC's cache; `dvc pull` it or run it again")
    return found
