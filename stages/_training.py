"""How training stages end."""

from pathlib import Path

import pandas as pd
import torch
from torch import Tensor, nn

from stages._artifacts import CURVES, PACKED, open_truth
from tris_core.data.index import Index
from tris_core.data.packed import PackedImages, packed_size
from tris_core.runtime import distributed
from tris_core.runtime.errors import InputError
from tris_core.runtime.files import replacing
from tris_core.training.params import Training
from tris_core.training.validation import Validation
from tris_core.weights.configs import ModelConfig
from tris_core.weights.model_folder import save_marker, save_model
from tris_core.weights.released import Builders, open_weights

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


def keep(
    model: nn.Module, config: ModelConfig, folder: Path, history: pd.DataFrame, name: str
) -> None:
    """Write the trained model and its loss curve, once whatever the number of processes."""
    if not distributed.rank():
        save_model(folder, model.state_dict(), config)
    write_curve(name, history)


def take_weights(location: str, builders: Builders, folder: Path, name: str) -> str:
    """Verify a model folder or a released file (a path or hf://owner/repo/file), and save it as `folder`.

    Returns the clause of the closing line.
    """
    state, config = open_weights(location, builders)
    size = packed_size(PACKED)
    if config.size != size:
        raise InputError(
            f"{location}: trained on squares of {config.size} pixels, not {size}; "
            "set pack_images.size to that"
        )
    if not distributed.rank():
        save_model(folder, state, config)
    write_curve(name, NO_HISTORY)
    assert config.source is not None  # open_weights names it
    digest = config.source.sha256[:12]
    return f"{folder}: {len(state)} tensors of {location}, SHA-256 {digest}; not trained"


def validation(
    params: Training,
    index: Index,
    packed: PackedImages,
    tokens: Tensor,
    device: torch.device,
) -> Validation:
    """The expressions of val with their masks, to choose an epoch by: all that `selection: val_mIoU` needs."""
    table = index.joined()
    image_of = index.image_rows(table["image_id"])
    return Validation.of_split(
        "val", table, image_of, tokens, open_truth(), packed, device, params.precision
    )
