"""What the commands share: plain errors, and options that several of them have."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from tris_core.runtime.errors import InputError

IndexFolder = Annotated[Path, typer.Option(help="folder of the index")]
JsonFile = Annotated[Path | None, typer.Option(dir_okay=False, help="JSON file to write")]
Step1Folder = Annotated[Path | None, typer.Option("--step1", help="Step-1's folder")]
Step2Folder = Annotated[Path | None, typer.Option("--step2", help="Step-2's folder")]
Baseline = Annotated[str, typer.Option(help="the commit that the experiments started from")]
Split = Annotated[str, typer.Option(help="the split to show")]


@contextmanager
def exit_on_input_error() -> Iterator[None]:
    """Print an `InputError` without a traceback and exit with code 1."""
    try:
        yield
    except InputError as error:
        typer.echo(f"tris: {error}", err=True)
        raise typer.Exit(1) from None
