"""The scratch folder: packed images, checkpoints, locks, logs, but no DVC outputs."""

import os
from pathlib import Path

from platformdirs import user_cache_path


def scratch_root() -> Path:
    """`$TRIS_SCRATCH`, or else the user's cache folder.

    It is absolute, so that copies of the repository share it.
    """
    return Path(os.environ.get("TRIS_SCRATCH") or user_cache_path("tris")).absolute()
