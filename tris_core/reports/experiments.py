"""Results of DVC experiments, branches and commits, read from Git and DVC's cache.

Nothing is checked out. This is the only module of the package that imports DVC.
"""

import hashlib
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

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from tris_core.reports.provenance import Lock, Reasons, in_words, joined, shortened
from tris_core.runtime.errors import InputError

try:
    from dvc.api import DVCFileSystem
    from dvc.exceptions import DvcException, NotDvcRepoError
    from dvc.fs import LocalFileSystem
    from dvc.ignore import DvcIgnoreFilter
    from dvc.repo import Repo
    from dvc.scm import NoSCMError, map_scm_exception, resolve_rev
    from dvc_data.hashfile.hash_info import HashInfo
    from dvc_data.hashfile.tree import ObjectFormatError, Tree
except ModuleNotFoundError as error:
    fix = 'run `pip install "dvc>=3.60,<4"`'
    raise InputError(f"runs are read from DVC, which is not installed; {fix}") from error

SEED = re.compile(r"-(\d+)$")
WORKSPACE = "workspace"  # DVC's name of the working directory
PARTS = {  # the names that a report gives to the results of stages
    "Step-1": ("train_step1", "dump_responses", "evaluate_step1"),
    "PRMS": ("score_prms", "evaluate_prms"),
    "Pseudo-labels": ("crf_seeds", "train_irn", "refine", "evaluate_labels"),
    "Step-2": ("train_step2", "predict_step2", "evaluate_step2"),
}


class Absent(Exception):
    """A run lacks a file. The message says which one, and how to get it."""


class NotRun(Absent):
    """A file exists but another run made it, according to dvc.lock."""


def group_of(name: str) -> str:
    """`no-t2v` for `no-t2v-2`: the number at the end is the random seed."""
    return SEED.sub("", name)


def experiments(baseline: str) -> dict[str, str]:
    """The revisions of all finished experiments that started from a commit, by name.

    Raises `InputError` outside a DVC repository, outside Git, or for an unknown commit.
    """
    try:
        with Repo() as repo:
            resolve_rev(repo.scm, baseline)
            found = repo.experiments.ls(rev=baseline).values()
    except DvcException as error:
        raise _no_revision(baseline, f"--baseline {baseline}: no such commit", error) from error
    return {name: revision for names in found for name, revision in names}


def _no_revision(revision: str, otherwise: str, error: DvcException) -> InputError:
    """The error for an unresolved revision: no repository, no commit, or `otherwise`."""
    here = Path.cwd()
    if isinstance(error, NotDvcRepoError):
        fix = "run `tris` in the folder with dvc.yaml"
        return InputError(f"{here}: no DVC repository; {fix}")
    try:
        with Repo() as repo:
            resolve_rev(repo.scm, "HEAD")
    except NoSCMError:
        return InputError(
            f"{here}: not under Git, which stores experiments, branches and commits; run `git init`"
        )
    except DvcException:
        return InputError(f"{here}: has no commit yet, so there is no {revision}; run `git commit`")
    return InputError(otherwise)


def suggestion(name: str, known: list[str]) -> str:
    """A question that ends an error message: the known name most similar to `name`, if any."""
    close = get_close_matches(name, known, n=1)
    return f"; did you mean {close[0]}?" if close else ""


class RunFiles:
    """The files of a revision, fetched from Git or DVC's cache when they are needed.

    The revision `WORKSPACE` is the working directory. Nothing is fetched for it, and it need not
    be under Git or DVC.

    Args:
        name: what to call the revision.
        folder: where to put fetched files.
        known: names to suggest if the revision does not exist.

    Raises:
        InputError: if the revision does not exist.
    """

    def __init__(
        self, name: str, revision: str, folder: Path, known: list[str] | None = None
    ) -> None:
        self.name, self.revision, self.root = name, revision, Path()
        self._folder, self._files, self._tree = folder, None, LocalFileSystem()
        self.digest = cache(self._digest)
        if revision != WORKSPACE:
            try:
                with Repo() as repo, map_scm_exception():
                    self._tree = repo.scm.get_fs(resolve_rev(repo.scm, revision))
            except DvcException as error:
                hint = suggestion(revision, known or [])
                otherwise = f"{name}: no experiment, branch or commit is called {revision}{hint}"
                raise _no_revision(revision, otherwise, error) from error
            self._files = DVCFileSystem(rev=revision)

    def find(self, path: str) -> Path | None:
        """The path of a file; None if the revision lacks it, or its content is not in the cache."""
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
        """The path of an output of a stage.

        Raises:
            NotRun: if another run made it, according to dvc.lock.
            Absent: if it is missing.
        """
        stage = self.lock.stage_of(path) if self.lock else None
        if stage is not None and stage in self.stale:
            raise NotRun(self._not_run(stage))
        found = self.find(path)
        if found is None:
            fix = "dvc repro" if self._files is None else "dvc pull"
            raise Absent(f"{path} is missing: the run did not get that far, or needs `{fix}`.")
        if self.lock and stage is None:
            raise NotRun(f"{path}: not made by any stage in dvc.lock.")
        if self.lock and self._is_another(path, found):
            fix = "`dvc checkout` restores it, `dvc repro` makes it again"
            raise NotRun(f"{path}: not the one in dvc.lock; {fix}.")
        return found

    def _not_run(self, stage: str) -> str:
        part = next((part for part, stages in PARTS.items() if stage in stages), stage)
        why = f"({stage}: {shortened(self.stale[stage])})"
        if self._files is None:
            return f"{part}: out of date in {self.name} {why}; run `dvc repro`."
        return f"{part}: not run in {self.name} {why}."

    def _is_another(self, path: str, found: Path) -> bool:
        """Whether a file differs from dvc.lock's record of it, or of the output it is part of."""
        assert self.lock is not None  # the caller checks it
        expected = self.lock.md5(path)
        if expected is not None:
            return _md5(LocalFileSystem(), str(found.resolve())) != expected
        outs = self.lock.outs
        place = next((str(p) for p in PurePosixPath(path).parents if str(p) in outs), None)
        if self._files is not None or place is None:
            return False
        return self.digest(place) != outs[place].get("md5")

    @cached_property
    def lock(self) -> Lock | None:
        """The content of dvc.lock; None if there is none."""
        locked, declared = self.yaml("dvc.lock"), self.yaml("dvc.yaml")
        if not locked:
            return None
        return Lock(locked.get("stages", {}), declared.get("stages", {}), self._inside)

    def yaml(self, path: str) -> dict[str, Any]:
        """The content of a YAML file of the run; empty if there is none.

        Raises `InputError` if it is not YAML.
        """
        found = self.find(path)
        try:
            content: dict[str, Any] | None = YAML(typ="safe").load(found) if found else None
        except YAMLError as error:
            line = str(error).splitlines()[0]
            problem = f"{path} is not YAML ({line}); is it in the middle of a merge?"
            raise InputError(f"{self.name}: {problem}") from error
        return content or {}

    @cached_property
    def stale(self) -> Reasons:
        """The stages whose results are not of this run, and all that follow, with the reasons.

        In a commit, changed code counts. In the workspace it does not (see `edited`).
        """
        if self.lock is None:
            return {}
        own = self.lock.not_of_this_run(cache(self.yaml))
        changed = {} if self._files is None else self.lock.changed_inputs(self.digest)
        return self.lock.with_followers(joined(own, changed))

    @cached_property
    def edited(self) -> Reasons:
        """The stages of the workspace whose code or data has changed since they ran."""
        if self._files is not None or self.lock is None:
            return {}
        found = self.lock.with_followers(self.lock.changed_inputs(self.digest))
        return {name: why for name, why in found.items() if name not in self.stale}

    def warnings(self) -> list[str]:
        """Warnings for the reader: which stages are out of date, and why."""
        if self.lock is None:
            problem = "there is no dvc.lock, so the parameters of these results are not known"
            return [f"{self.name}: {problem}."]
        found = []
        if self.stale and self._files is None:
            problem = f"these stages are out of date and left out: {in_words(self.stale)}"
            found.append(f"{self.name}: {problem}. Run `dvc repro`.")
        elif self.stale:
            problem = f"these stages were not run in it and are left out: {in_words(self.stale)}"
            found.append(f"{self.name}: {problem}.")
        if self.edited:
            problem = f"these stages ran before their code or data changed: {in_words(self.edited)}"
            fix = "Run `dvc repro`, or `dvc commit` if the change does not matter"
            found.append(f"{self.name}: {problem}. {fix}.")
        return found

    def commit(self) -> str:
        """Hash, date and subject of the commit; for the workspace also the uncommitted files."""
        try:
            with Repo() as repo, map_scm_exception():
                here = self._files is None
                revision = "HEAD" if here else resolve_rev(repo.scm, self.revision)
                found = repo.scm.resolve_commit(revision)
                changed = self._uncommitted(repo) if self._files is None else []
        except DvcException as error:
            return f"no commit ({error})"
        when = datetime.fromtimestamp(found.commit_time, UTC).date()
        subject = next(iter(found.message.splitlines()), "")
        said = f'commit {found.hexsha[:12]} of {when}, "{subject}"'
        if self._files is not None:
            return said
        if changed:
            return f"{said}; changed but not committed: {shortened(changed)}"
        return f"{said}; the run is committed"

    def _uncommitted(self, repo: Repo) -> list[str]:
        """The inputs of stages, and DVC's own files, that differ from the commit."""
        staged, unstaged, untracked = repo.scm.status()
        lists = (*staged.values(), unstaged, untracked)
        changed = {os.fsdecode(path) for paths in lists for path in paths}
        inputs = self.lock.inputs() if self.lock else set()
        matter = {"params.yaml", "dvc.yaml", "dvc.lock", *inputs}

        def matters(path: str) -> bool:
            return not matter.isdisjoint({path, *map(str, PurePosixPath(path).parents)})

        return sorted(filter(matters, changed))

    def _digest(self, path: str) -> str | None:
        """The MD5 of a file or folder of this revision; None if it is missing."""
        place = PurePosixPath(path)
        if self._files is None:
            return _md5(self._tree, str((self.root / path).resolve()))
        return None if place.is_absolute() or ".." in place.parts else _md5(self._tree, path)

    def _inside(self, folder: str, inner: tuple[str, ...]) -> str | None:
        try:
            with Repo() as repo:
                store = repo.cache.local
                tree = Tree.load(store, HashInfo("md5", folder))
                found = tree.get_obj(store, inner)  # type: ignore[arg-type]  # takes any length
        except (DvcException, FileNotFoundError, ObjectFormatError):
            return None
        return None if found is None else found.oid


def _md5(files: Any, path: str) -> str | None:
    """The MD5 that DVC records for a file or folder of a file system of fsspec; None if missing."""
    if files.isfile(path):
        with files.open(path, "rb") as file:
            return hashlib.file_digest(file, "md5").hexdigest()
    if not files.isdir(path):
        return None
    # .dvcignore names __pycache__, which Python writes beside the code
    found = DvcIgnoreFilter(files, str(Path.cwd())).find(files, path)
    inside = [(str(PurePosixPath(file).relative_to(path)), file) for file in found]
    tree = Tree.from_list([{"md5": _md5(files, file), "relpath": name} for name, file in inside])
    tree.digest()
    return str(tree.oid)


@contextmanager
def open_files(name: str, revision: str, known: list[str] | None = None) -> Iterator[RunFiles]:
    """The files of a revision, in a temporary folder for the time of the block."""
    with TemporaryDirectory() as folder:
        yield RunFiles(name, revision, Path(folder), known)
