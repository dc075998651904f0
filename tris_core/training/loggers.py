"""Where the losses of a training go while it runs, beside the curve it leaves in `metrics/curves`."""

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
Log = Callable[[int, dict[str, float]], None]


@contextmanager
def open_log(logger: Logger, training: str) -> Iterator[Log]:
    """A function of step and losses; `csv` adds nothing to the curve, and but for rank 0 nothing is written.

    TensorBoard and Weights & Biases write to `logs/<experiment>/<training>` of the scratch folder, the experiment's name being
    DVC's. Weights & Biases is offline: `wandb sync` sends a run. Raises `InputError` where the package is missing.
    """
    folder = scratch_root() / "logs" / os.environ.get("DVC_EXP_NAME", "workspace") / training
    if logger == "csv" or distributed.rank():
        yield lambda step, losses: None
        return
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # nothing is sent, not even crashes
    try:
        package = import_module("torch.utils.tensorboard" if logger == "tensorboard" else "wandb")
    except ModuleNotFoundError as error:
        raise InputError(
            f"runtime.logger: {logger} needs the package {error.name}; install `tris[{logger}]`"
        ) from error
    yield from (_tensorboard if logger == "tensorboard" else _wandb)(package, folder, training)


def _tensorboard(tensorboard: Any, folder: Path, training: str) -> Iterator[Log]:
    with tensorboard.SummaryWriter(str(folder)) as writer:

        def log(step: int, losses: dict[str, float]) -> None:
            for name, value in losses.items():
                writer.add_scalar(f"{training}/{name}", value, step)

        yield log


def _wandb(wandb: Any, folder: Path, training: str) -> Iterator[Log]:
    folder.mkdir(parents=True, exist_ok=True)
    with wandb.init(
        mode="offline", project="tris", group=folder.parent.name, name=training, dir=folder
    ) as run:
        yield lambda step, losses: run.log(losses, step=step)
