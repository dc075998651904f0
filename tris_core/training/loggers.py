"""Loggers that follow the losses of a running training."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

from tris_core.runtime import distributed
from tris_core.runtime.errors import InputError
from tris_core.runtime.scratch import scratch_root

Logger = Literal["csv", "tensorboard", "wandb"]
Follow = Callable[[int, dict[str, float]], None]


@contextmanager
def open_log(logger: Logger, training: str) -> Iterator[Follow]:
    """A function that logs the losses of a step. Only rank 0 writes.

    `csv` logs nothing beyond the curve in `metrics/curves`. TensorBoard and Weights & Biases write
    to `logs/<experiment>/<training>` in the scratch folder, where <experiment> is the name of the
    DVC experiment. Weights & Biases runs offline; `wandb sync` uploads a run. Raises `InputError`
    if the package is missing.
    """
    folder = scratch_root() / "logs" / os.environ.get("DVC_EXP_NAME", "workspace") / training
    if logger == "csv" or distributed.rank():
        yield lambda step, losses: None
        return
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # send nothing, not even crash reports
    try:
        package = import_module("torch.utils.tensorboard" if logger == "tensorboard" else "wandb")
    except ModuleNotFoundError as error:
        raise InputError(
            f"runtime.logger: {logger} needs the package {error.name}; install `tris[{logger}]`"
        ) from error
    yield from (_tensorboard if logger == "tensorboard" else _wandb)(package, folder, training)


def _tensorboard(tensorboard: Any, folder: Path, training: str) -> Iterator[Follow]:
    with tensorboard.SummaryWriter(str(folder)) as writer:

        def log(step: int, losses: dict[str, float]) -> None:
            for name, value in losses.items():
                writer.add_scalar(f"{training}/{name}", value, step)

        yield log


def _wandb(wandb: Any, folder: Path, training: str) -> Iterator[Follow]:
    folder.mkdir(parents=True, exist_ok=True)
    with wandb.init(
        mode="offline", project="tris", group=folder.parent.name, name=training, dir=folder
    ) as run:
        yield lambda step, losses: run.log(losses, step=step)
