"""Where a training keeps its checkpoints: outside every DVC output, removed when it is done."""

import hashlib
import json
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import tris_core
from tris_core.runtime import distributed
from tris_core.runtime.files import sha256_of
from tris_core.runtime.locks import hold
from tris_core.runtime.scratch import scratch_root


def training_digest(params: dict[str, Any], inputs: Iterable[Path]) -> str:
    """A name for one training: a hash of its parameters, its input files and the package's code."""
    code = sorted(Path(tris_core.__file__).parent.rglob("*.py"))
    parts = [json.dumps(params, sort_keys=True), sha256_of(inputs), sha256_of(code)]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:24]


@contextmanager
def scratch_folder(name: str, digest: str) -> Iterator[Path]:
    """Lock the folder of one training for the block, and remove it if the block succeeds.

    A second run of the same training waits. In a distributed run rank 0 takes the lock, and the
    other ranks read the folder after that.
    """
    folder = scratch_root() / "training" / f"{name}-{digest}"
    folder.mkdir(parents=True, exist_ok=True)
    if distributed.rank():
        distributed.wait_for_all()
        yield folder
        return
    with hold(folder.with_name(f"{folder.name}.lock"), f"the same {name} training elsewhere"):
        folder.mkdir(parents=True, exist_ok=True)
        distributed.wait_for_all()
        yield folder
        shutil.rmtree(folder, ignore_errors=True)  # somebody may have emptied the scratch folder
