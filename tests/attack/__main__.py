"""Attacks on readers, page, artifacts and disk. Each prints how many attempts were survived.

uv run python -m tests.attack page | files | bits | bombs | power
"""

import importlib
from typing import Annotated

import typer

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, help=__doc__)


@app.command()
def page() -> None:
    """Requests to a running demo page: theft, URLs, devices, origins, quotas, slow uploads."""
    importlib.import_module("tests.attack.page").main()


@app.command()
def files(
    times: Annotated[int, typer.Option(min=1)] = 200, seed: Annotated[int, typer.Option()] = 0
) -> None:
    """Damaged, missing and foreign image shards, and replaced images."""
    importlib.import_module("tests.attack.files").main(times, seed)


@app.command()
def bits(
    times: Annotated[int, typer.Option(min=1, help="per artifact")] = 100,
    seed: Annotated[int, typer.Option()] = 0,
) -> None:
    """One flipped bit in each artifact of the run in the working directory."""
    importlib.import_module("tests.attack.bits").main(times, seed)


@app.command()
def bombs() -> None:
    """Small files that unpack to far more than their size."""
    importlib.import_module("tests.attack.bombs").main()


@app.command()
def power(
    times: Annotated[int, typer.Option(min=1)] = 10, seed: Annotated[int, typer.Option()] = 0
) -> None:
    """Power cuts at random times during a small run."""
    importlib.import_module("tests.pipeline.kill").main(times, seed, power_cuts=True)


if __name__ == "__main__":
    app()
