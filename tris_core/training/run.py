"""One execution of a training: where it started, what it logged, and its checkpoints."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from tris_core.runtime import distributed
from tris_core.runtime.errors import InputError
from tris_core.training.checkpoints import read_checkpoint, write_checkpoint
from tris_core.training.task import KeepBest, Losses, Task

Rows = list[dict[str, float]]  # each has the step and the mean losses up to it
Log = Callable[[Rows], None]


@dataclass
class TrainingState:
    """How far a training is. `recent` holds the losses of the steps since the last row."""

    done: int = 0
    history: Rows = field(default_factory=list)
    best: float = -math.inf
    recent: list[Losses] = field(default_factory=list)


class TrainingRun:
    """Resumes a training, logs and checks its losses, and writes its checkpoints."""

    def __init__(self, folder: Path, checkpoint_seconds: float, log: Log) -> None:
        """
        Args:
            folder: Of the checkpoints.
            checkpoint_seconds: Time between two of them, at least.
            log: Called with the rows so far whenever there is a new one.
        """
        self.speed = ""  # of the training, once it has ended
        self._newest, self._best = folder / "checkpoint.pt", folder / "best.pt"
        self._seconds, self._log = checkpoint_seconds, log
        self._saved = time.monotonic()

    def resume(self, task: Task[Any]) -> TrainingState:
        """Load the newest checkpoint into the task. Without a usable one, start at step 0."""
        saved = read_checkpoint(self._newest)
        self._saved = time.monotonic()
        if saved is None or (saved["best"] > -math.inf and read_checkpoint(self._best) is None):
            return TrainingState()
        task.model.load_state_dict(saved["model"])
        task.optimizer.load_state_dict(saved["optimizer"])
        torch.set_rng_state(saved["rng"])
        if distributed.rank() == 0:
            print(f"continuing from step {saved['done']} ({self._newest})", flush=True)
        return TrainingState(saved["done"], saved["history"], saved["best"])

    def keep_if_best(self, task: Task[Any], state: TrainingState, keep_best: KeepBest) -> None:
        """Score the model and write its weights if the score is the highest so far."""
        score = keep_best.score()
        task.model.train()
        best = max(state.best, score)
        print(
            f"{task.name}: step {state.done}, score {score:.4f}, best so far {best:.4f}", flush=True
        )
        if score > state.best:
            state.best = score
            write_checkpoint(task.model.state_dict(), self._best)

    def log_losses(self, task: Task[Any], state: TrainingState) -> dict[str, float]:
        """Log the mean of the recent losses and return it. Raises `InputError` if not finite."""
        row = {
            name: distributed.mean(torch.stack([step[name] for step in state.recent]).mean()).item()
            for name in state.recent[-1]
        }
        if not all(map(math.isfinite, row.values())):
            raise self._loss_not_finite(task, state)
        state.history.append({"step": state.done, **row})
        self._log(state.history)
        return row

    def save_if_due(self, task: Task[Any], state: TrainingState) -> None:
        """Write a checkpoint if the last one is old enough, except after the last step.

        Raises `InputError` if a weight is not finite where a checkpoint or the result is due.
        """
        due, last = time.monotonic() - self._saved >= self._seconds, state.done == task.steps
        if (due or last) and (broken := _broken_weight(task.model)):
            raise InputError(
                f"{task.name}: {broken} is not finite after step {state.done} although the losses "
                f"were; its batch: {task.describe(state.done - 1)}; {self._advice()}"
            )
        if not due or last:
            return
        if distributed.rank() == 0:
            checkpoint = {
                "model": task.model.state_dict(),
                "optimizer": task.optimizer.state_dict(),
                "done": state.done,
                "history": state.history,
                "best": state.best,
                "rng": torch.get_rng_state(),
            }
            write_checkpoint(checkpoint, self._newest)
        self._saved = time.monotonic()

    def load_best(self, task: Task[Any]) -> None:
        """Load the best weights. Raises `InputError` if their file is gone or damaged."""
        best = read_checkpoint(self._best)
        if best is None:
            raise InputError(
                f"{task.name}: {self._best} with the best weights was deleted or damaged during "
                "the run; run it again"
            )
        task.model.load_state_dict(best)

    def _loss_not_finite(self, task: Task[Any], state: TrainingState) -> InputError:
        """The error for the first of the recent steps with a loss that is not finite."""
        steps = [
            {name: distributed.mean(loss).item() for name, loss in losses.items()}
            for losses in state.recent
        ]
        bad = next(i for i, row in enumerate(steps) if not all(map(math.isfinite, row.values())))
        step = state.done - len(steps) + bad
        losses = ", ".join(f"{name} {value:g}" for name, value in steps[bad].items())
        return InputError(
            f"{task.name}: loss not finite at step {step + 1}: {losses}; "
            f"its batch: {task.describe(step)}; {self._advice()}"
        )

    def _advice(self) -> str:
        saved = read_checkpoint(self._newest) or {"done": 0}
        return (
            f"the checkpoint of step {saved['done']} is kept. Check these records, the learning "
            "rate and the machine. The next `dvc repro` resumes from the checkpoint, or starts "
            "over if parameters, data or code changed"
        )


def _broken_weight(model: nn.Module) -> str | None:
    """Name of a weight or batch statistic with a value that is not finite."""
    for name, value in model.state_dict().items():
        if value.is_floating_point() and not value.isfinite().all():
            return name
    return None
