"""What every stage has in common: its files, its errors and its closing line."""

import gc
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path

import typer
from ruamel.yaml import YAML
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.run import main as torchrun

from tris_core.declared import maker_of, makers
from tris_core.runtime import distributed
from tris_core.runtime.errors import InputError, visible
from tris_core.runtime.params import RuntimeParams, load_section
from tris_core.runtime.processes import end_with_parent, peak_memory

PARAMS = Path("params.yaml")
DVC = Path("dvc.yaml")


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
    except FileNotFoundError as error:
        if not isinstance(error.filename, str) or Path(error.filename).is_absolute():
            raise
        typer.echo(
            f"{name}: {error.filename}: not made yet; run {remake(error.filename)}", err=True
        )
        raise typer.Exit(1) from None
    done = f"{'; '.join(map(visible, clauses))} ({time.monotonic() - started:.1f} s, {peak_memory():.2f} GB at most)"
    typer.echo(f"{name}: {done}")


def remake(path: str | Path) -> str:
    """The command that makes a file: `dvc repro`, with the stage of dvc.yaml that writes it if one does."""
    stages = YAML(typ="safe").load(DVC)["stages"] if DVC.is_file() else {}
    maker = maker_of(str(path), makers(stages))
    return f"`dvc repro {maker}`" if maker else "`dvc repro`"


@contextmanager
def spread_stage(name: str) -> Iterator[Callable[[str], None]]:
    """`stage` in each of the processes; rank 0 alone talks.

    With `runtime.processes` above 1 the body runs in as many processes that this one starts on this machine and waits for. Who
    starts them with torchrun, over several machines for instance, decides there.
    """
    runtime = load_section(PARAMS, RuntimeParams)
    if not distributed.under_torchrun() and runtime.processes > 1:
        end_with_parent()
        os.environ.setdefault(
            "OMP_NUM_THREADS", str(runtime.threads or 1)
        )  # else torchrun warns; `pick_device` decides
        try:
            torchrun(
                [
                    "--standalone",
                    "--local-addr=127.0.0.1",
                    f"--nproc-per-node={runtime.processes}",
                    "-m",
                    f"stages.{name}",
                ]
            )
        except ChildFailedError:  # it has said why
            raise typer.Exit(1) from None
        raise typer.Exit
    distributed.join()
    with (
        open(os.devnull, "w") as nowhere,
        redirect_stdout(nowhere if distributed.rank() else sys.stdout),
        stage(name) as say,
    ):
        yield say
