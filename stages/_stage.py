"""What every stage has in common: its parameters, its errors and its closing line."""

import gc
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path

import typer
from ruamel.yaml import YAML

from tris_core.runtime.declared import maker_of, makers
from tris_core.runtime.errors import InputError, visible
from tris_core.runtime.params import Params, RuntimeParams, read_params
from tris_core.runtime.processes import end_with_parent, peak_memory

PARAMS = Path("params.yaml")
DVC = Path("dvc.yaml")


@dataclass(frozen=True)
class Run:
    """One execution of a stage: the validated parameters, and the clauses of its closing line."""

    params: Params
    clauses: list[str] = field(default_factory=list)

    @property
    def runtime(self) -> RuntimeParams:
        return self.params[RuntimeParams]

    def say(self, clause: str) -> None:
        """Add a clause to the closing line."""
        self.clauses.append(clause)


def stage_app() -> typer.Typer:
    """A stage's command line."""
    return typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@contextmanager
def run_stage(name: str, *, ranks: bool = False) -> Iterator[Run]:
    """Run a stage's body: validate params.yaml once, report input errors plainly, print a summary.

    The process ends with the one that started it. An `InputError`, or an input file that is not
    there, ends in one line and exit code 1. With `ranks` the body runs in `runtime.processes`
    processes, or in those that torchrun started; rank 0 alone prints.
    """
    gc.freeze()  # imported objects stay: rescanning them at exit takes over a second
    end_with_parent()
    started = time.monotonic()
    try:
        run = Run(read_params(PARAMS))
        with _rank(name, run.runtime) if ranks else nullcontext():
            yield run
            clauses = "; ".join(map(visible, run.clauses))
            took = f"{time.monotonic() - started:.1f} s, {peak_memory():.2f} GB at most"
            typer.echo(f"{name}: {clauses} ({took})")
    except InputError as error:
        typer.echo(f"{name}: {error}", err=True)
        raise typer.Exit(1) from None
    except FileNotFoundError as error:
        if not isinstance(error.filename, str) or Path(error.filename).is_absolute():
            raise
        fix = f"run {remake(Path(error.filename))}"
        typer.echo(f"{name}: {error.filename}: not made yet; {fix}", err=True)
        raise typer.Exit(1) from None


@contextmanager
def _rank(name: str, runtime: RuntimeParams) -> Iterator[None]:
    """Run the block as one rank; start the ranks first if torchrun has not. Only rank 0 prints."""
    from tris_core.runtime import distributed  # imports torch, which some stages do without

    if not distributed.under_torchrun() and runtime.processes > 1:
        _torchrun(name, runtime)
        raise typer.Exit
    distributed.join()
    with open(os.devnull, "w") as nowhere:
        with redirect_stdout(nowhere if distributed.rank() else sys.stdout):
            yield


def _torchrun(name: str, runtime: RuntimeParams) -> None:
    """Run the stage in `runtime.processes` processes of this machine and wait for them."""
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import main as torchrun

    os.environ.setdefault("OMP_NUM_THREADS", str(runtime.threads or 1))  # else torchrun warns
    here = ["--standalone", "--local-addr=127.0.0.1", f"--nproc-per-node={runtime.processes}"]
    try:
        torchrun([*here, "-m", f"stages.{name}"])
    except ChildFailedError:  # the rank that failed has printed why
        raise typer.Exit(1) from None


def remake(path: Path) -> str:
    """The command that makes a missing or outdated file again."""
    stages = YAML(typ="safe").load(DVC)["stages"] if DVC.is_file() else {}
    maker = maker_of(str(path), makers(stages))
    return f"`dvc repro {maker}`" if maker else "`dvc repro`"
