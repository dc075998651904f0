"""Coverage-guided fuzzing of one reader.

    uv run --group fuzz python -m tests.fuzz refer --seconds 300

Stops at the first input that raises anything but `InputError`, with exit code 77 and a file
`crash-...`.
"""

import random
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import atheris
import open_clip  # noqa: F401  imported first: instrumented it would be slow
import pandas  # noqa: F401
import torch  # noqa: F401
import typer

with atheris.instrument_imports(include=["tris_core", "pickle", "zipfile", "csv"]):
    from tests.fuzz.targets import only_input_errors, targets


def main(
    name: Annotated[str, typer.Argument(help="a target of tests/fuzz/targets.py")],
    seconds: Annotated[int, typer.Option(min=1)] = 300,
    again: Annotated[Path | None, typer.Option(help="crash file to run on its own")] = None,
) -> None:
    """Feed mutated files to a reader until one raises anything but InputError."""
    memory = Path("/dev/shm")
    base = Path(tempfile.mkdtemp(prefix="tris-fuzz-", dir=memory if memory.is_dir() else None))
    (base / "files").mkdir()
    (base / "corpus").mkdir()
    target, seeds = targets(base / "files")[name]
    decisions = [random.Random(n).randbytes(60) for n in range(20)]  # a start for the other targets
    for number, seed in enumerate(seeds or decisions):
        (base / "corpus" / str(number)).write_bytes(seed)

    def one(data: bytes) -> None:
        only_input_errors(target, data, atheris.FuzzedDataProvider(data))

    limits = [
        "-rss_limit_mb=4096",
        "-timeout=30",
        "-max_len=4096",
        "-len_control=0",
        f"-max_total_time={seconds}",
    ]
    atheris.Setup([sys.argv[0], str(again or base / "corpus"), *limits], one)
    atheris.Fuzz()


if __name__ == "__main__":
    typer.run(main)
