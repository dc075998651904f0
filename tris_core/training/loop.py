"""The one training loop, used by Step-1, the boundary network and Step-2."""

import math
import os
import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from tris_core.runtime import distributed
from tris_core.runtime.errors import InputError
from tris_core.runtime.files import NO_SEAL, check_seal, replacing, seal
from tris_core.runtime.processes import keep_freed_memory
from tris_core.runtime.progress import progress
from tris_core.training.loggers import Log

LOG_EVERY = 10
Losses = dict[str, Tensor]


@dataclass(frozen=True)
class Selection:
    """Keep the weights of the best `score()`, asked every `every` steps and at the end; of equals the first.

    Every process is asked, and rank 0 alone has the answer; NaN elsewhere.
    """

    every: int
    score: Callable[[], float]


def poly(step: int, steps: int, power: float = 0.9) -> float:
    """Factor of the learning rate: (1 - step/steps)^power."""
    return max(0.0, 1 - step / steps) ** power


def seed_everything(seed: int) -> None:
    """Seed torch and demand deterministic kernels: the same machine and thread count then give the same bytes."""
    os.environ.setdefault(
        "CUBLAS_WORKSPACE_CONFIG", ":4096:8"
    )  # what deterministic matrix products ask of CUDA
    torch.manual_seed(seed)
    torch.use_deterministic_algorithms(True)
    # Filling what was just allocated takes a tenth of a step on a CPU; no kernel here reads it.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


def fit(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    losses: Callable[[int], Losses],
    *,
    steps: int,
    rate: Callable[[int], float],
    scratch: Path,
    checkpoint_seconds: float,
    name: str,
    log: Log,
    batch: Callable[[int], str],
    selection: Selection | None = None,
) -> pd.DataFrame:
    """Train for `steps` steps and return the loss curve: one row every ten steps, averaged over them, which `log` gets too.

    `losses(step)` draws the step's batch as a function of the step alone and returns named scalars, `total` among them;
    `rate(step)` scales the learning rates the optimizer was built with. The newest checkpoint in `scratch` is continued
    from, to the same result as without the interruption. Without `selection` the last weights are the result. Of several
    processes (`tris_core.runtime.distributed`) rank 0 alone keeps checkpoints and has the result. Raises `InputError` that names the
    step and its batch, in the words of `batch(step)`, if a loss is not finite, or a weight where a checkpoint or the result
    would be written; the last good checkpoint stays.
    """
    keep_freed_memory()
    base = [group["lr"] for group in optimizer.param_groups]
    first, history, best = _resume(model, optimizer, scratch)
    bar = progress(steps, name, done=first)
    saved = time.monotonic()
    recent: list[Losses] = []
    leads = distributed.rank() == 0
    for step in range(first, steps):
        for group, lr in zip(optimizer.param_groups, base, strict=True):
            group["lr"] = lr * rate(step)
        parts = losses(step)
        optimizer.zero_grad(set_to_none=True)
        parts["total"].backward()
        distributed.average_gradients(model)
        optimizer.step()
        recent.append({key: value.detach() for key, value in parts.items()})
        bar.update()
        done = step + 1
        if selection is not None and (done % selection.every == 0 or done == steps):
            score = selection.score()
            model.train()
            print(
                f"{name}: step {done}, score {score:.4f}, best so far {max(best, score):.4f}",
                flush=True,
            )
            if score > best:
                best = score
                _write(model.state_dict(), scratch / "best.pt")
        if done % LOG_EVERY == 0 or done == steps:
            row = {
                key: distributed.mean(torch.stack([parts[key] for parts in recent]).mean()).item()
                for key in parts
            }
            if not all(math.isfinite(value) for value in row.values()):
                raise _not_finite(name, recent, done, batch, scratch)
            history.append({"step": done, **row})
            log(done, row)
            recent = []
            bar.set_postfix_str(
                ", ".join(f"{key} {value:.3f}" for key, value in row.items()), refresh=False
            )
            due = time.monotonic() - saved >= checkpoint_seconds
            if (due or done == steps) and (broken := _broken_weight(model)):
                what = f"after step {done}, of {batch(step)}, {broken} is not finite though the losses were"
                raise InputError(f"{name}: {what}; {_advice(scratch)}")
            if leads and due and done < steps:
                _save(model, optimizer, scratch, done, history, best)
                saved = time.monotonic()
    bar.close()
    if selection is not None and leads and steps:
        model.load_state_dict(_best(scratch / "best.pt", name))
    return pd.DataFrame(history, columns=None if history else ["step", "total"])


def _not_finite(
    name: str, recent: list[Losses], done: int, batch: Callable[[int], str], scratch: Path
) -> InputError:
    """The error for the first of the `recent` steps with a loss that is not finite; `done` is the last of them."""
    means = {
        key: distributed.mean(torch.stack([parts[key] for parts in recent])).tolist()
        for key in recent[0]
    }
    first = next(
        i
        for i in range(len(recent))
        if not all(math.isfinite(values[i]) for values in means.values())
    )
    step = done - len(recent) + first
    losses = ", ".join(f"{key} {values[first]:g}" for key, values in means.items())
    return InputError(
        f"{name}: loss not finite at step {step + 1}: {losses}; its batch: {batch(step)}; {_advice(scratch)}"
    )


def _advice(scratch: Path) -> str:
    state = _read(scratch / "checkpoint.pt") or {"done": 0}
    return (
        f"kept is the checkpoint of step {state['done']}. Look at these records, at the learning rate and at the machine: "
        "the next `dvc repro` goes on from the checkpoint, or from the start where parameters, data or code were changed"
    )


def _broken_weight(model: nn.Module) -> str | None:
    """Name of a weight or batch statistic with a value that is not finite."""
    state = model.state_dict()
    return next(
        (
            key
            for key, value in state.items()
            if value.is_floating_point() and not value.isfinite().all()
        ),
        None,
    )


def _save(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    scratch: Path,
    done: int,
    history: list[dict[str, float]],
    best: float,
) -> None:
    state = {
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "done": done,
        "history": history,
        "best": best,
    }
    _write({**state, "rng": torch.get_rng_state()}, scratch / "checkpoint.pt")


def _write(state: dict[str, Any], path: Path) -> None:
    with replacing(path) as temporary:
        try:
            torch.save(state, temporary)
        except RuntimeError as error:  # which does not say why
            raise InputError(
                f"{path}: cannot be written, most likely for want of space ({str(error).splitlines()[0]}); free some, then "
                "run it again: the last checkpoint stays"
            ) from error
        with zipfile.ZipFile(temporary, "a") as archive:
            archive.comment = f"seal:{NO_SEAL}".encode()
        seal(temporary)


def _read(path: Path) -> dict[str, Any] | None:
    """What `_write` wrote; None, with a printed line, if the file is gone or damaged."""
    if not path.exists():
        return None
    try:
        check_seal(path, "the training starts from its first step")
    except InputError as error:
        print(error, flush=True)
        return None
    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return state


def _best(path: Path, name: str) -> dict[str, Tensor]:
    state = _read(path)
    if state is None:
        raise InputError(
            f"{name}: {path} with the best weights was deleted or damaged during the run; run it again"
        )
    return state


def _resume(
    model: nn.Module, optimizer: torch.optim.Optimizer, scratch: Path
) -> tuple[int, list[dict[str, float]], float]:
    path = scratch / "checkpoint.pt"
    state = _read(path)
    if state is None or (state["best"] > -math.inf and _read(scratch / "best.pt") is None):
        return 0, [], -math.inf
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    torch.set_rng_state(state["rng"])
    if distributed.rank() == 0:
        print(f"continuing from step {state['done']} ({path})", flush=True)
    return state["done"], state["history"], state["best"]
