"""Where files live that are no DVC output: packed images, checkpoints, locks, logs."""

import os
from pathlib import Path

from platformdirs import user_cache_path


def scratch_root() -> Path:
    """`$TRIS_SCRATCH`, else the user's cache folder; absolute, so that copies of the repository share it."""
    return Path(os.environ.get("TRIS_SCRATCH") or user_cache_path("tris")).absolute()
