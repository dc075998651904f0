"""Simulate a power cut: files, and names, that were not yet on the disk are truncated or lost.

`record` makes all Python processes of a run log what they fsync. After the run was killed, `cut`
damages the other files as a disk may: an empty file, half a file, no file.
"""

import os
import random
from pathlib import Path

from tests.support.project import Project

RECORDER = """
import os

_fsync = os.fsync


def fsync(descriptor):
    _fsync(descriptor)
    found = os.fstat(descriptor)
    with open(os.environ["TRIS_FSYNC_LOG"], "a") as log:
        log.write(f"{found.st_ino} {found.st_mtime_ns}\\n")


os.fsync = fsync
"""


def record(project: Project) -> None:
    """Make all later runs of the project log what they fsync."""
    folder = project.folder.parent / f"{project.folder.name}-recorder"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(RECORDER)
    (folder / "log").touch()
    path = os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])
    project.extra_env = {"PYTHONPATH": path, "TRIS_FSYNC_LOG": str(folder / "log")}


def cut(project: Project, since: float, rng: random.Random) -> int:
    """Damage the files written after the time `since` and not fsynced. Returns their number."""
    lines = Path(project.extra_env["TRIS_FSYNC_LOG"]).read_text().splitlines()
    synced = {tuple(map(int, line.split())) for line in lines}
    damaged = 0
    for place in written_places(project):
        for folder, _, names in os.walk(place):
            names_synced = _stamp(Path(folder)) in synced
            for path in (Path(folder) / name for name in names):
                stamp = _stamp(path)
                if stamp[1] < since * 1e9:
                    continue
                if stamp in synced and (names_synced or rng.random() < 0.5):
                    continue
                damaged += 1
                _damage(path, rng, gone=stamp in synced)
    return damaged


def written_places(project: Project) -> list[Path]:
    """Folders that a run writes: outputs, scratch, and DVC's cache without its databases."""
    inside = ("data", "models", "metrics", ".dvc/cache/files")
    return [*(project.folder / name for name in inside), project.scratch]


def _stamp(path: Path) -> tuple[int, int]:
    found = path.lstat()
    return found.st_ino, found.st_mtime_ns


def _damage(path: Path, rng: random.Random, *, gone: bool) -> None:
    os.chmod(path, 0o644)
    how = "gone" if gone else rng.choice(["empty", "half", "gone"])
    if how == "gone":
        path.unlink()
    else:
        os.truncate(path, path.stat().st_size // 2 if how == "half" else 0)
