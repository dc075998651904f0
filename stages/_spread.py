"""A stage on several processes, where `runtime.processes` or torchrun ask for it."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout

import typer
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.run import main as torchrun

from stages._stage import PARAMS, stage
from tris_core import distributed
from tris_core.params.base import load_section
from tris_core.params.runtime import RuntimeParams
from tris_core.processes import end_with_parent


@contextmanager
def spread_stage(name: str) -> Iterator[Callable[[str], None]]:
    """`stage` in each of the processes; rank 0 alone talks.

    With `runtime.processes` above 1 the body runs in as many processes that this one starts on this machine and waits for. Who
    starts them with torchrun, over several machines for instance, decides there.
    """
    runtime = load_section(PARAMS, RuntimeParams)
    if not distributed.under_torchrun() and runtime.processes > 1:
        end_with_parent()
        os.environ.setdefault("OMP_NUM_THREADS", str(runtime.threads or 1))  # else torchrun warns; `pick_device` decides
        try:
            torchrun(
                ["--standalone", "--local-addr=127.0.0.1", f"--nproc-per-node={runtime.processes}", "-m", f"stages.{name}"]
            )
        except ChildFailedError:  # it has said why
            raise typer.Exit(1) from None
        raise typer.Exit
    distributed.join()
    with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere if distributed.rank() else sys.stdout), stage(name) as say:
        yield say
