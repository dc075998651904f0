"""Flip one bit of an artifact of a finished run. Its reader must raise an error that names it.

uv run python -m tests.attack bits --times 100
"""

import random
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
import typer

from stages._artifacts import CLIP, PREDICTIONS
from tris_core.evaluation.mask_files import read_masks
from tris_core.irn.network import build_irn
from tris_core.runtime.errors import InputError
from tris_core.runtime.files import read_sealed_json
from tris_core.runtime.parquet import read_table
from tris_core.step1.network import build_step1
from tris_core.step2.network import build_step2
from tris_core.training.checkpoints import read_checkpoint, write_checkpoint
from tris_core.weights.model_folder import open_folder

BUILDERS = {"Step-1": build_step1, "Step-2": build_step2, "the boundary network": build_irn}


def readers(folder: Path) -> Iterator[tuple[Path, Callable[[], object]]]:
    """Every artifact in a run's folder, with its reader."""
    for path in sorted((folder / "data").rglob("*.parquet")):
        reader = read_masks if path == folder / PREDICTIONS else read_table
        yield path, lambda path=path, reader=reader: reader(path)
    yield folder / CLIP, lambda: read_sealed_json(folder / CLIP)
    for weights in sorted((folder / "models").rglob("model.safetensors")):
        for path in (weights, weights.with_name("config.json")):
            yield path, lambda model=weights.parent: open_folder(model, BUILDERS)
    checkpoint = folder / "checkpoint.pt"
    state = {"model": {"weight": torch.randn(64, 64)}, "done": 10, "history": [], "best": 0.0}
    write_checkpoint(state, checkpoint)
    yield checkpoint, lambda: _refuse_none(read_checkpoint(checkpoint), checkpoint)


def _refuse_none(state: object, path: Path) -> None:
    """A damaged checkpoint is reported and skipped, which counts as found."""
    if state is None:
        raise InputError(f"{path}: skipped")


def attack(folder: Path, times: int, seed: int) -> dict[str, tuple[int, int]]:
    """(tried, found) for each artifact of the run in `folder`, which is restored afterwards."""
    rng = random.Random(seed)
    results = {}
    for path, read in readers(folder):
        read()
        whole = path.read_bytes()
        found = sum(_found(path, whole, rng.randrange(8 * len(whole)), read) for _ in range(times))
        path.write_bytes(whole)
        results[str(path.relative_to(folder))] = (times, found)
    return results


def _found(path: Path, whole: bytes, bit: int, read: Callable[[], object]) -> bool:
    damaged = bytearray(whole)
    damaged[bit // 8] ^= 1 << bit % 8
    path.write_bytes(damaged)
    try:
        read()
    except InputError as error:
        return str(path) in str(error)
    return False


def main(times: int, seed: int) -> None:
    with tempfile.TemporaryDirectory(prefix="tris-bits-") as place:
        for name in ("data", "models"):
            shutil.copytree(name, Path(place) / name)
        results = attack(Path(place), times, seed)
    for name, (tried, found) in results.items():
        typer.echo(f"{name}: {tried} tried, {found} found")
    if any(tried != found for tried, found in results.values()):
        raise typer.Exit(1)
