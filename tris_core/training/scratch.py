"""Where a training keeps what it needs to go on after an interruption: outside every DVC output, gone when it is done."""

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
    """Names one training: its parameters, the bytes of its inputs and all code of the package."""
    code = sorted(Path(tris_core.__file__).parent.rglob("*.py"))
    parts = [json.dumps(params, sort_keys=True), sha256_of(inputs), sha256_of(code)]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:24]


@contextmanager
def scratch_folder(name: str, digest: str) -> Iterator[Path]:
    """The folder of one training, locked while the block runs (a second run waits) and removed when it ends well.

    Of a run of several processes rank 0 has the lock, and the others read what lies there once it has.
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
