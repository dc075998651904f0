"""A network trained elsewhere in the place of a training."""

from pathlib import Path

from stages._paths import PACKED
from stages._training import NO_HISTORY, write_curve
from tris_core import distributed
from tris_core.data.packed import packed_size
from tris_core.errors import InputError
from tris_core.models.checkpoints import save_model
from tris_core.models.released import Builders, open_weights


def take_weights(location: str, builders: Builders, folder: Path, name: str) -> str:
    """Verify a model folder or a released file (a path or hf://owner/repo/file), and save it as `folder`.

    Returns the clause of the closing line.
    """
    state, config = open_weights(location, builders)
    size = packed_size(PACKED)
    if config["size"] != size:
        raise InputError(f"{location}: trained on squares of {config['size']} pixels, not {size}; set pack_images.size to that")
    if not distributed.rank():
        save_model(folder, state, config)
    write_curve(name, NO_HISTORY)
    return f"{folder}: {len(state)} tensors of {location}, SHA-256 {config['source']['sha256'][:12]}; not trained"
