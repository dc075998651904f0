"""Coverage-guided fuzzing of one reader: `uv run --group fuzz python -m tests.fuzz refer --seconds 300`.

Ends with exit code 77 and a file `crash-...` at the first input that ends in anything but `InputError`.
"""

import random
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import atheris
import open_clip  # noqa: F401  before the instrumentation, which would slow it down
import pandas  # noqa: F401
import torch  # noqa: F401
import typer

with atheris.instrument_imports(include=["tris_core", "pickle", "zipfile", "csv"]):
    from tests.fuzz.targets import only_input_errors, targets


def main(
    name: Annotated[str, typer.Argument(help="a target of tests/fuzz/targets.py")],
    seconds: Annotated[int, typer.Option(min=1)] = 300,
    again: Annotated[Path | None, typer.Option(help="a file of a crash, to run alone")] = None,
) -> None:
    """Feed a reader with mutated files until something but InputError comes of one."""
    base = Path(
        tempfile.mkdtemp(prefix="tris-fuzz-", dir="/dev/shm" if Path("/dev/shm").is_dir() else None)
    )
    (base / "files").mkdir()
    (base / "corpus").mkdir()
    target, seeds = targets(base / "files")[name]
    for number, seed in enumerate(
        seeds or [random.Random(n).randbytes(60) for n in range(20)]
    ):  # decisions to begin with
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
