"""Results of DVC experiments, branches and commits, read from DVC's cache without checking anything out.

The only module of the package that knows DVC.
"""

import hashlib
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from difflib import get_close_matches
from functools import cache, cached_property
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from tris_core.reports.paper import label
from tris_core.reports.provenance import Lock, Reasons, in_words, joined, shortened
from tris_core.runtime.errors import InputError
from tris_core.runtime.parquet import read_table

try:
    from dvc.api import DVCFileSystem
    from dvc.exceptions import DvcException, NotDvcRepoError
    from dvc.repo import Repo
    from dvc.scm import NoSCMError, map_scm_exception, resolve_rev
    from dvc_data.hashfile.hash_info import HashInfo
    from dvc_data.hashfile.tree import ObjectFormatError, Tree
    from fsspec.implementations.local import LocalFileSystem  # type: ignore[import-untyped]
except ModuleNotFoundError as error:
    raise InputError(
        'runs are read from DVC, which is not installed; run `pip install "dvc>=3.60,<4"`'
    ) from error

SEED = re.compile(r"-(\d+)$")
WORKSPACE = "workspace"  # as DVC calls it
PARTS = {  # what a report calls the results of these stages
    "Step-1": ("train_step1", "dump_responses", "evaluate_step1"),
    "PRMS": ("score_prms", "evaluate_prms"),
    "Pseudo-labels": ("crf_seeds", "train_irn", "refine", "evaluate_labels"),
    "Step-2": ("train_step2", "evaluate_step2"),
}


class Absent(Exception):
    """A file that a run does not have: the message says what is missing, and how to get it."""


class NotRun(Absent):
    """A file that is there but was made by another run, as dvc.lock tells."""


def group_of(name: str) -> str:
    """`no-t2v` of `no-t2v-2`: experiments that differ in their seed only end in its number."""
    return SEED.sub("", name)


def experiments(baseline: str) -> dict[str, str]:
    """Revision by name of every finished experiment that started from the commit `baseline`.

    Raises `InputError` outside a DVC repository, outside Git, and for an unknown commit.
    """
    try:
        with Repo() as repo:
            resolve_rev(repo.scm, baseline)
            found = repo.experiments.ls(rev=baseline).values()
    except DvcException as error:
        raise _no_revision(baseline, f"--baseline {baseline}: no such commit", error) from error
    return {name: revision for names in found for name, revision in names}


def _no_revision(revision: str, otherwise: str, error: DvcException) -> InputError:
    """Why a revision cannot be resolved: no repository, no commit, or `otherwise`."""
    here = Path.cwd()
    if isinstance(error, NotDvcRepoError):
        return InputError(
            f"{here}: no DVC repository; run `tris` in the folder that holds dvc.yaml"
        )
    try:
        with Repo() as repo:
            resolve_rev(repo.scm, "HEAD")
    except NoSCMError:
        return InputError(
            f"{here}: not under Git, which holds experiments, branches and commits; run `git init`"
        )
    except DvcException:
        return InputError(f"{here}: has no commit yet, so there is no {revision}; run `git commit`")
    return InputError(otherwise)


def suggestion(name: str, known: list[str]) -> str:
    """A question to end an error message with: the known name that looks most like `name`, if one does."""
    close = get_close_matches(name, known, n=1)
    return f"; did you mean {close[0]}?" if close else ""


class RunFiles:
    """Files of a revision, fetched from Git or from DVC's cache into `folder` as they are asked for.

    The revision `WORKSPACE` is the current folder as it is: nothing is fetched, and neither Git nor DVC needs to know it.
    """

    def __init__(
        self, name: str, revision: str, folder: Path, known: list[str] | None = None
    ) -> None:
        """Raises `InputError`, which calls the revision `name`, if there is none of that name; `known` are others."""
        self.name, self.revision, self.root = name, revision, Path()
        self._folder, self._files, self._tree = folder, None, LocalFileSystem()
        self.digest = cache(self._digest)
        if revision != WORKSPACE:
            try:
                with Repo() as repo, map_scm_exception():
                    self._tree = repo.scm.get_fs(resolve_rev(repo.scm, revision))
            except DvcException as error:
                otherwise = f"{name}: no experiment, branch or commit is called {revision}{suggestion(revision, known or [])}"
                raise _no_revision(revision, otherwise, error) from error
            self._files = DVCFileSystem(rev=revision)

    def find(self, path: str) -> Path | None:
        """Where the file lies now; None if the revision has none, or its content is not in the cache."""
        if self._files is None:
            return self.root / path if (self.root / path).is_file() else None
        target = self._folder / path
        if not target.is_file():
            try:
                content: bytes = self._files.read_bytes(path)
            except FileNotFoundError:
                return None
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
        return target

    def result(self, path: str) -> Path:
        """Where an output of a stage lies now.

        Raises `NotRun` if dvc.lock tells that another run made it, `Absent` if it is not there.
        """
        stage = self.lock.stage_of(path) if self.lock else None
        if stage is not None and stage in self.stale:
            raise NotRun(self._not_run(stage))
        found = self.find(path)
        if found is None:
            fix = "dvc repro" if self._files is None else "dvc pull"
            raise Absent(f"{path} is not there: the run did not get so far, or `{fix}` brings it.")
        if self.lock and stage is None:
            raise NotRun(f"{path}: not made by any stage in dvc.lock.")
        if self.lock and self._is_another(path, found):
            raise NotRun(
                f"{path}: not the one in dvc.lock; `dvc checkout` brings that one, `dvc repro` makes it again."
            )
        return found

    def _not_run(self, stage: str) -> str:
        part = next((part for part, stages in PARTS.items() if stage in stages), stage)
        why = f"({stage}: {shortened(self.stale[stage])})"
        if self._files is None:
            return f"{part}: out of date in {self.name} {why}; run `dvc repro`."
        return f"{part}: not run in {self.name} {why}."

    def _is_another(self, path: str, found: Path) -> bool:
        """Whether a file is not the one that dvc.lock records, if need be by the whole output that it is part of."""
        assert self.lock is not None  # asked before
        expected = self.lock.md5(path)
        if expected is not None:
            return _md5(LocalFileSystem(), str(found.resolve())) != expected
        place = next(
            (str(p) for p in PurePosixPath(path).parents if str(p) in self.lock.outs), None
        )
        return (
            self._files is None
            and place is not None
            and self.digest(place) != self.lock.outs[place].get("md5")
        )

    @cached_property
    def lock(self) -> Lock | None:
        """What dvc.lock records; None where there is none."""
        locked = self.yaml("dvc.lock")
        return (
            Lock(locked.get("stages", {}), self.yaml("dvc.yaml").get("stages", {}), self._inside)
            if locked
            else None
        )

    def yaml(self, path: str) -> dict[str, Any]:
        """Content of a YAML file of the run; empty where there is none. Raises `InputError` if it cannot be read."""
        found = self.find(path)
        try:
            content: dict[str, Any] | None = YAML(typ="safe").load(found) if found else None
        except YAMLError as error:
            line = str(error).splitlines()[0]
            raise InputError(
                f"{self.name}: {path} is not YAML ({line}); is it in the middle of a merge?"
            ) from error
        return content or {}

    @cached_property
    def stale(self) -> Reasons:
        """Stages whose results are not of this run, with the reasons, whatever follows them included.

        A commit's results are those of its own code. The workspace's code may be ahead of its last run (`edited`).
        """
        if self.lock is None:
            return {}
        own = self.lock.not_of_this_run(cache(self.yaml))
        changed = {} if self._files is None else self.lock.changed_inputs(self.digest)
        return self.lock.with_followers(joined(own, changed))

    @cached_property
    def edited(self) -> Reasons:
        """Stages of the workspace whose results are shown though their code or data changed since they ran."""
        if self._files is not None or self.lock is None:
            return {}
        found = self.lock.with_followers(self.lock.changed_inputs(self.digest))
        return {name: why for name, why in found.items() if name not in self.stale}

    def warnings(self) -> list[str]:
        """What a reader has to know before the numbers: which stages are out of date and why, a sentence or two each."""
        if self.lock is None:
            return [
                f"{self.name}: there is no dvc.lock, so nothing tells which parameters these results belong to."
            ]
        found = []
        if self.stale and self._files is None:
            found.append(
                f"{self.name}: these stages are out of date and left out: {in_words(self.stale)}. Run `dvc repro`."
            )
        elif self.stale:
            found.append(
                f"{self.name}: these stages were not run in it and are left out: {in_words(self.stale)}."
            )
        if self.edited:
            found.append(
                f"{self.name}: code or data changed after these stages ran, and their results are of the old: "
                f"{in_words(self.edited)}. Run `dvc repro`, or `dvc commit` if the change does not matter."
            )
        return found

    def commit(self) -> str:
        """Hash, date and subject of its commit; of the workspace, also which files of the run are not committed."""
        try:
            with Repo() as repo, map_scm_exception():
                found = repo.scm.resolve_commit(
                    "HEAD" if self._files is None else resolve_rev(repo.scm, self.revision)
                )
                changed = self._uncommitted(repo) if self._files is None else []
        except DvcException as error:
            return f"no commit ({error})"
        when = datetime.fromtimestamp(found.commit_time, UTC).date()
        subject = next(iter(found.message.splitlines()), "")
        said = f'commit {found.hexsha[:12]} of {when}, "{subject}"'
        if self._files is not None:
            return said
        return (
            f"{said}; changed but not committed: {shortened(changed)}"
            if changed
            else f"{said}; the run is committed"
        )

    def _uncommitted(self, repo: Repo) -> list[str]:
        """Files that the stages read, and DVC's own, that differ from the commit."""
        staged, unstaged, untracked = repo.scm.status()
        changed = {
            os.fsdecode(path) for paths in (*staged.values(), unstaged, untracked) for path in paths
        }
        matter = {"params.yaml", "dvc.yaml", "dvc.lock", *(self.lock.inputs() if self.lock else ())}
        return sorted(
            path
            for path in changed
            if not matter.isdisjoint({path, *map(str, PurePosixPath(path).parents)})
        )

    def _digest(self, path: str) -> str | None:
        """MD5 that DVC gives a file or folder of this run's tree; None where there is none."""
        place = PurePosixPath(path)
        if self._files is None:
            return _md5(self._tree, str((self.root / path).resolve()))
        return None if place.is_absolute() or ".." in place.parts else _md5(self._tree, path)

    def _inside(self, folder: str, inner: tuple[str, ...]) -> str | None:
        try:
            with Repo() as repo:
                store = repo.cache.local
                found = Tree.load(store, HashInfo("md5", folder)).get_obj(store, inner)  # type: ignore[arg-type]  # annotated as of one part
        except (DvcException, FileNotFoundError, ObjectFormatError):
            return None
        return None if found is None else found.oid


def _md5(files: Any, path: str) -> str | None:
    """MD5 of a file, or of the listing of a folder as DVC writes it; None where there is none. `files`: of fsspec."""
    if files.isfile(path):
        with files.open(path, "rb") as file:
            return hashlib.file_digest(file, "md5").hexdigest()
    if not files.isdir(path):
        return None
    found = {
        str(PurePosixPath(file).relative_to(path)): _md5(files, file) for file in files.find(path)
    }
    tree = Tree.from_list([{"md5": md5, "relpath": relative} for relative, md5 in found.items()])
    tree.digest()
    return str(tree.oid)


@contextmanager
def open_files(name: str, revision: str, known: list[str] | None = None) -> Iterator[RunFiles]:
    """The files of a revision, in a temporary folder that is gone after the block."""
    with TemporaryDirectory() as folder:
        yield RunFiles(name, revision, Path(folder), known)


def read_run(files: RunFiles, *, step: int, split: str) -> pd.DataFrame:
    """Records (columns of `tris_core.evaluation.metrics`, split, image_id) that `evaluate_step<step>` wrote of a split.

    Raises `NotRun` if they are another run's, `Absent` if they are not in the cache, `InputError` if they lack the split.
    """
    records = read_table(files.result(f"data/evaluation/step{step}/records.parquet"))
    expressions, refs = (
        read_table(files.result(f"data/index/{of}.parquet")) for of in ("expressions", "refs")
    )
    chosen = records[records["split"] == split]
    if chosen.empty:
        raise InputError(
            f"{files.name}: no split {split!r}; there are {', '.join(records['split'].unique())}"
        )
    owners = expressions.merge(refs, on="ref_id")
    return chosen.merge(
        owners[["expression_id", "image_id"]], on="expression_id", validate="one_to_one"
    )


def read_metrics(
    files: RunFiles, *, table: int, step: int
) -> tuple[str, dict[str, dict[str, float]]]:
    """What the paper calls the data set of a run, and the metrics by split that its `table` has (1, 2 or 4).

    Raises `NotRun` if they are another run's, `Absent` if they are not in the cache.
    """
    path = "metrics/prms.json" if table == 4 else f"data/evaluation/step{step}/metrics.json"
    content = json.loads(files.result(path).read_text())
    dataset = files.yaml("params.yaml")["dataset"]
    return label(dataset["name"], dataset["split_by"]), content if table == 4 else content[
        "metrics"
    ]
