"""Checkpoint files: sealed with a hash, so that a damaged one is noticed."""

import zipfile
from pathlib import Path
from typing import Any

import torch

from tris_core.runtime.errors import InputError
from tris_core.runtime.files import NO_SEAL, check_seal, replacing, seal


def write_checkpoint(state: dict[str, Any], path: Path) -> None:
    """Write tensors and plain values. Raises `InputError` if the disk is full."""
    with replacing(path) as temporary:
        try:
            torch.save(state, temporary)
        except RuntimeError as error:  # torch does not say that the disk is full
            reason = str(error).splitlines()[0]
            raise InputError(
                f"{path}: cannot be written, most likely for want of space ({reason}); "
                "free some, then run it again: the last checkpoint stays"
            ) from error
        with zipfile.ZipFile(temporary, "a") as archive:
            archive.comment = f"seal:{NO_SEAL}".encode()
        seal(temporary)


def read_checkpoint(path: Path) -> dict[str, Any] | None:
    """Read what `write_checkpoint` wrote. Returns None if the file is missing or damaged.

    A damaged file is reported with a printed line.
    """
    if not path.exists():
        return None
    try:
        check_seal(path, "the training starts from its first step")
    except InputError as error:
        print(error, flush=True)
        return None
    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return state
