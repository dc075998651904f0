"""What every stage has in common: its files, its errors and its closing line."""

import gc
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import typer

from tris_core.errors import InputError
from tris_core.processes import end_with_parent, peak_memory

PARAMS = Path("params.yaml")


def stage_app() -> typer.Typer:
    """A stage's command line, to be made when all is imported."""
    gc.freeze()  # else what was imported is looked through once more at the end, which takes over a second
    return typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@contextmanager
def stage(name: str) -> Iterator[Callable[[str], None]]:
    """Run a stage: it ends with the process that started it, prints input errors plainly (exit code 1) and sums up.

    The block gets a function that adds a clause to the closing line.
    """
    end_with_parent()
    started = time.monotonic()
    clauses: list[str] = []
    try:
        yield clauses.append
    except InputError as error:
        typer.echo(f"{name}: {error}", err=True)
        raise typer.Exit(1) from None
    typer.echo(f"{name}: {'; '.join(clauses)} ({time.monotonic() - started:.1f} s, {peak_memory():.2f} GB at most)")
