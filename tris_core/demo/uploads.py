"""The folder of uploads: its files, its limits, and its deletion, even after a crash."""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from stat import S_ISREG

from tris_core.demo.limits import Limits
from tris_core.runtime.errors import InputError

PREFIX = "tris-demo-"
EXAMPLES = "examples"  # subfolder that is never swept
FULL = "The server keeps no more pictures at the moment. Try again in a few minutes."


class Full(Exception):
    """An upload does not fit. The text appears on the page."""


@contextmanager
def upload_folder() -> Iterator[Path]:
    """Yield a private folder that is deleted at the end.

    Folders left by killed servers are deleted first.
    """
    _delete_leftovers()
    folder, handle = _locked_folder()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(handle)


def _locked_folder() -> tuple[Path, int]:
    """A new folder, locked until this process ends."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=PREFIX)).resolve()
        with suppress(FileNotFoundError):
            handle = os.open(folder, os.O_RDONLY)
            fcntl.flock(handle, fcntl.LOCK_EX)
            if folder.exists():  # otherwise another server deleted it before it was locked
                return folder, handle
            os.close(handle)


def _delete_leftovers() -> None:
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with suppress(OSError):  # another user's, or locked by a running server
            handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder)
            finally:
                os.close(handle)


class Uploads:
    """The files of one running server in `folder`, an absolute path without links."""

    def __init__(self, folder: Path, limits: Limits) -> None:
        self.folder = folder
        self._limits = limits
        self._promised = 0  # bytes of uploads on their way

    def find(self, path: str) -> Path | None:
        """The upload or example at `path`, or None if it does not exist (any more).

        Any other path raises `InputError` before the file system is asked about it. So do links and
        devices.
        """
        asked = Path(path)
        if "\0" in path or ".." in asked.parts or not asked.is_relative_to(self.folder):
            raise InputError("This file was not uploaded here.")
        if not os.path.lexists(asked):
            return None
        if asked.resolve() != asked or not asked.is_file():
            raise InputError("This file was not uploaded here.")
        return asked

    def upload_of(self, path: Path) -> str:
        """Name of an upload's own folder."""
        return path.relative_to(self.folder).parts[0]

    @contextmanager
    def room(self, size: int) -> Iterator[None]:
        """Reserve `size` bytes while an upload arrives. Raises `Full`."""
        files = [
            found.st_size
            for path in self._uploaded()
            if (found := _stat(path)) and S_ISREG(found.st_mode)
        ]
        if (
            len(files) >= self._limits.files
            or sum(files) + self._promised + size > self._limits.disk_bytes
        ):
            raise Full(FULL)
        self._promised += size
        try:
            yield
        finally:
            self._promised -= size

    def sweep(self, used: set[str], now: float) -> None:
        """Delete uploads that are too old at time `now` (seconds since 1970).

        Those in use by a page are kept longer.
        """
        for entry in self.folder.iterdir():
            found = _stat(entry)
            kept = self._limits.kept_s if entry.name in used else self._limits.grace_s
            if entry.name != EXAMPLES and found and now - found.st_mtime > kept:
                _delete(entry)

    def _uploaded(self) -> Iterator[Path]:
        for folder, folders, names in os.walk(self.folder):
            if folder == str(self.folder):
                folders[:] = [name for name in folders if name != EXAMPLES]
            yield from (Path(folder, name) for name in names)


def _stat(path: Path) -> os.stat_result | None:
    """`path.lstat()`, or None if the file is gone: Gradio's threads move uploads meanwhile."""
    try:
        return path.lstat()
    except FileNotFoundError:
        return None


def _delete(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
