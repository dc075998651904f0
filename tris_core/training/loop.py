"""The training loop of Step-1, Step-2 and the boundary network."""

from contextlib import nullcontext

import pandas as pd
import torch
from torch import nn

from tris_core.runtime import distributed
from tris_core.runtime.device import refuse_unrepeatable
from tris_core.runtime.processes import keep_freed_memory
from tris_core.runtime.progress import progress
from tris_core.runtime.threads import prefetch
from tris_core.training.run import TrainingRun
from tris_core.training.speed import Speed
from tris_core.training.task import B, KeepBest, Losses, Task

LOG_EVERY = 10


def fit(task: Task[B], run: TrainingRun, keep_best: KeepBest | None = None) -> pd.DataFrame:
    """Train `task.model` in place and return its loss curve.

    An interrupted training resumes from its newest checkpoint and ends with the same weights. In a
    distributed run only rank 0 writes checkpoints and has the result.

    Args:
        task: Model, batches and losses.
        run: Checkpoints and log.
        keep_best: Keep the best weights instead of the last ones.

    Returns:
        One row every ten steps: `step`, and the mean of each loss over these steps.

    Raises:
        InputError: A loss or weight is not finite. The message names the step and its batch; the
            last good checkpoint stays.
    """
    keep_freed_memory()
    full_rates = [group["lr"] for group in task.optimizer.param_groups]
    state = run.resume(task)
    if task.compile:
        task.objective.compile()
    objective = distributed.parallel(task.objective)
    steps = range(state.done, task.steps)
    speed = Speed(task.images, next(task.model.parameters()).device, task.precision)
    bar = progress(task.steps, task.name, done=state.done)
    for step, batch in zip(steps, prefetch(task.batch, steps), strict=True):
        for group, rate in zip(task.optimizer.param_groups, full_rates, strict=True):
            group["lr"] = rate * task.schedule(step)
        # torch.compile gives up what first runs under a counter of operations.
        counted = step == steps.start and not task.compile
        with speed.first_step() if counted else nullcontext():
            losses: Losses = objective(batch)
            task.optimizer.zero_grad(set_to_none=True)
            losses["total"].backward()
        if task.max_grad_norm is not None:
            nn.utils.clip_grad_norm_(task.model.parameters(), task.max_grad_norm)
        task.optimizer.step()

        state.recent.append({name: loss.detach() for name, loss in losses.items()})
        state.done, last = step + 1, step + 1 == task.steps
        bar.update()
        if keep_best is not None and (state.done % keep_best.every == 0 or last):
            run.keep_if_best(task, state, keep_best)
        if state.done % LOG_EVERY == 0 or last:
            row = run.log_losses(task, state)
            speed.count(len(state.recent))
            state.recent = []
            said = [f"{name} {loss:.3f}" for name, loss in row.items()]
            bar.set_postfix_str(", ".join(filter(None, [*said, speed.rate()])), refresh=False)
            run.save_if_due(task, state)
    bar.close()
    run.speed = speed.describe()
    if keep_best is not None and task.steps and distributed.rank() == 0:
        run.load_best(task)
    return pd.DataFrame(state.history, columns=None if state.history else ["step", "total"])


def seed_everything(seed: int) -> None:
    """Seed torch and require deterministic kernels.

    The same machine and number of threads then give the same bytes.
    """
    torch.manual_seed(seed)
    refuse_unrepeatable()
