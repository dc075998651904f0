"""How training stages end."""

from pathlib import Path
from typing import Any

import pandas as pd
from torch import nn

from stages._paths import CURVES
from tris_core import distributed
from tris_core.files import replacing
from tris_core.models.checkpoints import save_marker, save_model

NO_HISTORY = pd.DataFrame(columns=["step", "total"])


def write_curve(name: str, history: pd.DataFrame) -> None:
    """metrics/curves/<name>.csv; where nothing was trained, its header."""
    if distributed.rank():
        return
    with replacing(CURVES / f"{name}.csv") as temporary:
        history.to_csv(temporary, index=False)


def skip_training(folder: Path, name: str, why: str) -> str:
    """Leave a marker in the model's place and an empty curve. Returns the clause of the closing line."""
    if not distributed.rank():
        save_marker(folder, why)
    write_curve(name, NO_HISTORY)
    return f"{folder}: not trained, {why}"


def keep(model: nn.Module, config: dict[str, Any], folder: Path, history: pd.DataFrame, name: str) -> None:
    """Write the trained model and its loss curve, once whatever the number of processes."""
    if not distributed.rank():
        save_model(folder, model.state_dict(), config)
    write_curve(name, history)
