"""The training loop: interruption changes nothing; losses and weights must be finite."""

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from tests.support.full_disk import at_most
from tris_core.runtime.errors import InputError
from tris_core.training.loop import fit
from tris_core.training.optimizers import constant, poly
from tris_core.training.run import Log, Rows, TrainingRun
from tris_core.training.speed import Speed
from tris_core.training.task import KeepBest, Losses, Task

STEPS = 60
Weights = dict[str, Tensor]


class Interrupted(Exception):
    pass


def draw(step: int, seed: int = 0) -> tuple[int, Tensor]:
    return step, torch.randn(16, 4, generator=torch.Generator().manual_seed(1000 * seed + step))


class Objective(nn.Module):
    """The model learns to sum four numbers. Training is interrupted at `stop_at`."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.stop_at: int | None = None
        self.taken: list[int] = []

    def forward(self, batch: tuple[int, Tensor]) -> Losses:
        step, x = batch
        if step == self.stop_at:
            raise Interrupted
        self.taken.append(step)
        loss = (self.model(x).squeeze(1) - x.sum(1)).square().mean()
        return {"total": loss, "part": loss.detach() / 2}


def toy(steps: int = STEPS) -> Task[Any]:
    torch.manual_seed(3)
    model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.3), nn.Linear(8, 1))
    return Task(
        name="toy",
        model=model,
        optimizer=torch.optim.AdamW(model.parameters(), lr=1e-2),
        steps=steps,
        images=16,
        precision="fp32",
        batch=draw,
        objective=Objective(model),
        describe=lambda step: f"rows of {step}",
        schedule=partial(poly, steps=steps),
    )


def ignore(rows: Rows) -> None:
    """A log that nobody reads."""


def run(
    task: Task[Any], folder: Path, keep_best: KeepBest | None = None, log: Log = ignore
) -> tuple[Weights, pd.DataFrame]:
    folder.mkdir(exist_ok=True)
    history = fit(task, TrainingRun(folder, checkpoint_seconds=0, log=log), keep_best)
    return task.model.state_dict(), history


def interrupt(task: Task[Any], folder: Path, stop_at: int, **how: Any) -> None:
    task.objective.stop_at = stop_at  # type: ignore[assignment]
    with pytest.raises(Interrupted):
        run(task, folder, **how)


def test_a_compiled_training_is_compiled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its operations are not counted: what first runs under the counter is never compiled."""
    graphs = []

    def backend(graph: Any, inputs: list[Tensor]) -> Any:
        graphs.append(graph)
        return graph

    def compile_with_backend(module: nn.Module) -> None:
        module._compiled_call_impl = torch.compile(module._call_impl, backend=backend)

    monkeypatch.setattr(nn.Module, "compile", compile_with_backend)
    monkeypatch.setattr(Speed, "first_step", lambda speed: FlopCounterMode(display=False))
    run(replace(toy(3), compile=True), tmp_path)
    assert graphs


def equal(one: Weights, two: Weights) -> bool:
    return all(torch.equal(one[key], two[key]) for key in one)


def test_an_interrupted_training_ends_with_the_same_bits(tmp_path: Path) -> None:
    straight, curve = run(toy(), tmp_path / "a")
    interrupt(toy(), tmp_path / "b", 37)
    assert (tmp_path / "b" / "checkpoint.pt").is_file()
    task = toy()
    resumed, resumed_curve = run(task, tmp_path / "b")
    assert task.objective.taken[0] == 30  # type: ignore[attr-defined]
    assert equal(straight, resumed)
    pd.testing.assert_frame_equal(curve, resumed_curve)


def test_the_curve_has_a_row_every_ten_steps_and_falls(tmp_path: Path) -> None:
    _, curve = run(toy(steps=55), tmp_path)
    assert curve["step"].tolist() == [10, 20, 30, 40, 50, 55]
    assert curve.columns.tolist() == ["step", "total", "part"]
    assert curve["total"].iloc[-1] < curve["total"].iloc[0] / 2
    torch.testing.assert_close(curve["part"].to_numpy(), curve["total"].to_numpy() / 2)


@pytest.mark.parametrize("most", [None, 0.01, 1e6])
def test_a_gradient_is_scaled_down_to_its_largest_norm(most: float | None, tmp_path: Path) -> None:
    task = replace(toy(steps=1), max_grad_norm=most)
    before = [p.detach().clone() for p in task.model.parameters()]
    sgd = torch.optim.SGD(task.model.parameters(), lr=1.0)
    run(replace(task, optimizer=sgd), tmp_path)
    moved = [p - old for p, old in zip(task.model.parameters(), before, strict=True)]
    norm = torch.cat([step.flatten() for step in moved]).norm().item()
    assert norm == pytest.approx(0.01, rel=1e-3) if most == 0.01 else norm > 0.1


def test_the_schedule_scales_the_rates_of_all_groups(tmp_path: Path) -> None:
    task, rates = toy(steps=4), []
    first, last = task.model[0].weight, task.model[3].weight  # type: ignore[index]
    groups = [{"params": [first], "lr": 1.0}, {"params": [last], "lr": 0.5}]
    optimizer = torch.optim.SGD(groups)
    optimizer.register_step_pre_hook(
        lambda *_: rates.append([group["lr"] for group in optimizer.param_groups])
    )
    run(replace(task, optimizer=optimizer, schedule=lambda step: 1 - step / 4), tmp_path)
    assert rates == [[1.0, 0.5], [0.75, 0.375], [0.5, 0.25], [0.25, 0.125]]


@pytest.mark.parametrize("damage", ["empty", "cut", "flipped"])
def test_a_damaged_checkpoint_is_reported_and_the_training_starts_over(
    damage: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    straight, curve = run(toy(), tmp_path / "a")
    interrupt(toy(), tmp_path / "b", 37)
    path = tmp_path / "b" / "checkpoint.pt"
    whole = path.read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 3] ^= 4
    damaged = {"empty": b"", "cut": whole[: len(whole) // 2], "flipped": bytes(flipped)}
    path.write_bytes(damaged[damage])
    again, again_curve = run(toy(), tmp_path / "b")
    assert equal(straight, again)
    pd.testing.assert_frame_equal(curve, again_curve)
    printed = [line for line in capsys.readouterr().out.splitlines() if "checkpoint.pt" in line]
    assert len(printed) == 1
    assert "the training starts from its first step" in printed[0]


def test_the_log_gets_the_rows_of_the_curve_as_they_come(tmp_path: Path) -> None:
    logged: list[pd.DataFrame] = []

    def log(rows: Rows) -> None:
        logged.append(pd.DataFrame(rows))

    interrupt(toy(), tmp_path, 37, log=log)
    assert [rows["step"].tolist() for rows in logged] == [[10], [10, 20], [10, 20, 30]]
    _, curve = run(toy(), tmp_path, log=log)
    for rows in logged:
        pd.testing.assert_frame_equal(rows, curve.iloc[: len(rows)])
    assert len(logged) == 6


def test_other_batches_end_with_other_weights(tmp_path: Path) -> None:
    """The control: the tests above would notice a difference."""
    one, _ = run(toy(), tmp_path / "a")
    two, _ = run(replace(toy(), batch=partial(draw, seed=1)), tmp_path / "b")
    assert not equal(one, two)


class Changed(nn.Module):
    def __init__(self, honest: nn.Module, change: Callable[[int, Losses], Losses]) -> None:
        super().__init__()
        self.honest, self.change = honest, change

    def forward(self, batch: tuple[int, Tensor]) -> Losses:
        return self.change(batch[0], self.honest(batch))


def spoilt(task: Task[Any], change: Callable[[int, Losses], Losses]) -> Task[Any]:
    """`task` with its losses changed."""
    return replace(task, objective=Changed(task.objective, change))


def test_a_loss_that_is_not_finite_names_step_and_batch(tmp_path: Path) -> None:
    def change(step: int, losses: Losses) -> Losses:
        factor = float("nan") if step in (25, 27) else 1.0
        return {**losses, "part": losses["part"] * factor}

    message = (
        r"^toy: loss not finite at step 26: total \S+, part nan; its batch: rows of 25; "
        r"the checkpoint of step 20 is kept\. .*dvc repro"
    )
    with pytest.raises(InputError, match=message):
        run(spoilt(toy(), change), tmp_path / "b")
    straight, curve = run(toy(), tmp_path / "a")
    resumed, resumed_curve = run(toy(), tmp_path / "b")
    assert equal(straight, resumed)
    pd.testing.assert_frame_equal(curve, resumed_curve)


@pytest.mark.parametrize(("bad", "kept"), [(19, 10), (59, 50)])
def test_a_weight_that_is_not_finite_is_never_saved(tmp_path: Path, bad: int, kept: int) -> None:
    task = toy()

    def change(step: int, losses: Losses) -> Losses:
        weight = task.model[0].weight.flatten()[0]  # type: ignore[index]
        zero = (0 * weight.detach() * weight).sqrt()  # its gradient is NaN
        return {"total": losses["total"] + zero if step == bad else losses["total"]}

    message = (
        rf"toy: \S+ is not finite after step {bad + 1} although the losses were; "
        rf"its batch: rows of {bad}; the checkpoint of step {kept} is kept"
    )
    with pytest.raises(InputError, match=message):
        run(spoilt(task, change), tmp_path)
    assert torch.load(tmp_path / "checkpoint.pt", weights_only=True)["done"] == kept


@pytest.mark.skipif(sys.platform == "win32", reason="Windows cannot limit the size of files")
def test_a_checkpoint_that_does_not_fit_leaves_the_last_one(tmp_path: Path) -> None:
    interrupt(toy(), tmp_path / "a", 15)
    before = (tmp_path / "a" / "checkpoint.pt").read_bytes()
    full = r"checkpoint\.pt: cannot be written, most likely for want of space"
    with at_most(1000), pytest.raises(InputError, match=full):
        run(toy(), tmp_path / "a")
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["checkpoint.pt"]
    assert (tmp_path / "a" / "checkpoint.pt").read_bytes() == before


def test_no_steps_leave_the_weights_alone(tmp_path: Path) -> None:
    kept, history = run(toy(steps=0), tmp_path)
    assert equal(kept, toy().model.state_dict())
    assert history.columns.tolist() == ["step", "total"]
    assert history.empty


def test_schedules() -> None:
    assert [poly(s, 4) for s in (0, 2, 4, 5)] == [1.0, pytest.approx(0.5**0.9), 0.0, 0.0]
    assert [constant(s) for s in (0, 100)] == [1.0, 1.0]


@dataclass
class Scores:
    """Prescribed scores by step; the weights at that time are remembered."""

    task: Task[Any]
    kept: dict[int, Weights]

    def __call__(self) -> float:
        done = self.task.objective.taken[-1] + 1  # type: ignore[attr-defined]
        self.kept[done] = {k: v.clone() for k, v in self.task.model.state_dict().items()}
        self.task.model.eval()
        return {20: 0.3, 40: 0.9, 60: 0.9}[done]


@pytest.mark.parametrize("stop_at", [None, 35, 45])
def test_keep_best_returns_the_first_weights_of_the_best_score(
    tmp_path: Path, stop_at: int | None
) -> None:
    kept: dict[int, Weights] = {}
    if stop_at is not None:
        task = toy()
        interrupt(task, tmp_path, stop_at, keep_best=KeepBest(20, Scores(task, kept)))
    task = toy()
    result, _ = run(task, tmp_path, KeepBest(20, Scores(task, kept)))
    assert equal(result, kept[40])
    assert not equal(result, kept[60])
    straight, _ = run(toy(), tmp_path / "straight")
    assert equal(straight, kept[60]), "scoring does not disturb the training"


def test_best_weights_that_disappear_are_an_error(tmp_path: Path) -> None:
    task = toy(steps=20)

    def score() -> float:
        (tmp_path / "best.pt").unlink(missing_ok=True)
        return -1.0 if task.objective.taken[-1] == 19 else 0.5  # type: ignore[attr-defined]

    with pytest.raises(InputError, match=r"best\.pt with the best weights was deleted or damaged"):
        run(task, tmp_path, KeepBest(10, score))
