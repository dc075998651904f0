"""How training stages end."""

from pathlib import Path

import pandas as pd

from stages._paths import CURVES
from tris_core.files import replacing
from tris_core.models.checkpoints import save_marker

NO_HISTORY = pd.DataFrame(columns=["step", "total"])


def write_curve(name: str, history: pd.DataFrame) -> None:
    """metrics/curves/<name>.csv; where nothing was trained, its header."""
    with replacing(CURVES / f"{name}.csv") as temporary:
        history.to_csv(temporary, index=False)


def skip_training(folder: Path, name: str, why: str) -> str:
    """Leave a marker in the model's place and an empty curve. Returns the clause of the closing line."""
    save_marker(folder, why)
    write_curve(name, NO_HISTORY)
    return f"{folder}: not trained, {why}"
