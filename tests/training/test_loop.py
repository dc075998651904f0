"""The training loop: interruption changes nothing, nonsense stops it."""

import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import torch
from torch import nn

from tests.support.full_disk import at_most
from tris_core.runtime.errors import InputError
from tris_core.training.loggers import Log
from tris_core.training.loop import Selection, fit, poly


class Interrupted(Exception):
    pass


def toy() -> tuple[nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(3)
    model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.3), nn.Linear(8, 1))
    return model, torch.optim.AdamW(model.parameters(), lr=1e-2)


def losses_of(
    model: nn.Module, stop_at: int | None = None
) -> Callable[[int], dict[str, torch.Tensor]]:
    def losses(step: int) -> dict[str, torch.Tensor]:
        if step == stop_at:
            raise Interrupted
        x = torch.randn(16, 4, generator=torch.Generator().manual_seed(step))
        loss = (model(x).squeeze(1) - x.sum(1)).square().mean()
        return {"total": loss, "part": loss.detach() / 2}

    return losses


def unheard(step: int, row: dict[str, float]) -> None:
    """For trainings whose log nobody reads."""


def run(
    scratch: Path, stop_at: int | None = None, steps: int = 60, log: Log = unheard
) -> tuple[dict[str, torch.Tensor], pd.DataFrame]:
    model, optimizer = toy()
    scratch.mkdir(exist_ok=True)
    history = fit(
        model, optimizer, losses_of(model, stop_at), steps=steps, rate=lambda s: poly(s, steps), scratch=scratch,
        checkpoint_seconds=0, name="toy", log=log, batch=lambda step: f"rows of {step}",
    )  # fmt: skip
    return model.state_dict(), history


def test_an_interrupted_training_ends_with_the_same_bits(tmp_path: Path) -> None:
    straight, curve = run(tmp_path / "a")
    with pytest.raises(Interrupted):
        run(tmp_path / "b", stop_at=37)
    assert (tmp_path / "b" / "checkpoint.pt").is_file()
    resumed, resumed_curve = run(tmp_path / "b")
    assert all(torch.equal(straight[key], resumed[key]) for key in straight)
    pd.testing.assert_frame_equal(curve, resumed_curve)
    assert curve["total"].iloc[-1] < curve["total"].iloc[0] / 2
    assert curve["step"].tolist() == [10, 20, 30, 40, 50, 60]


@pytest.mark.parametrize("damage", ["empty", "cut", "flipped"])
def test_a_damaged_checkpoint_costs_one_line_and_a_fresh_start(
    damage: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    straight, curve = run(tmp_path / "a")
    with pytest.raises(Interrupted):
        run(tmp_path / "b", stop_at=37)
    path = tmp_path / "b" / "checkpoint.pt"
    whole = path.read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 3] ^= 4
    path.write_bytes(
        {"empty": b"", "cut": whole[: len(whole) // 2], "flipped": bytes(flipped)}[damage]
    )
    again, again_curve = run(tmp_path / "b")
    assert all(torch.equal(straight[key], again[key]) for key in straight)
    pd.testing.assert_frame_equal(curve, again_curve)
    said = [line for line in capsys.readouterr().out.splitlines() if "checkpoint.pt" in line]
    assert len(said) == 1
    assert "the training starts from its first step" in said[0]


def test_the_log_gets_the_rows_of_the_curve_as_they_come(tmp_path: Path) -> None:
    logged: list[dict[str, float]] = []
    with pytest.raises(Interrupted):
        run(tmp_path / "a", stop_at=37, log=lambda step, row: logged.append({"step": step, **row}))
    assert [row["step"] for row in logged] == [10, 20, 30]
    _, curve = run(tmp_path / "a", log=lambda step, row: logged.append({"step": step, **row}))
    pd.testing.assert_frame_equal(pd.DataFrame(logged), curve)


def test_another_seed_of_data_ends_elsewhere(tmp_path: Path) -> None:
    a, _ = run(tmp_path / "a")
    b, _ = run(tmp_path / "b", steps=59)
    assert not all(torch.equal(a[key], b[key]) for key in a)


def test_a_loss_that_is_not_finite_names_step_and_batch_and_the_run_goes_on_without_its_cause(
    tmp_path: Path,
) -> None:
    straight, curve = run(tmp_path / "a")
    model, optimizer = toy()
    (tmp_path / "b").mkdir()

    def losses(step: int) -> dict[str, torch.Tensor]:
        parts = losses_of(model)(step)
        return {**parts, "part": parts["part"] * float("nan")} if step in (25, 27) else parts

    message = (
        r"^toy: loss not finite at step 26: total \S+, part nan; its batch: rows of 25; kept is the checkpoint of step 20\. .*"
        "dvc repro"
    )
    with pytest.raises(InputError, match=message):
        fit(
            model, optimizer, losses, steps=60, rate=lambda s: poly(s, 60), scratch=tmp_path / "b", checkpoint_seconds=0,
            name="toy", log=unheard, batch=lambda step: f"rows of {step}",
        )  # fmt: skip
    resumed, resumed_curve = run(tmp_path / "b")
    assert all(torch.equal(straight[key], resumed[key]) for key in straight)
    pd.testing.assert_frame_equal(curve, resumed_curve)


@pytest.mark.parametrize(("bad", "kept"), [(19, 10), (59, 50)])
def test_weights_that_are_not_finite_are_neither_kept_nor_the_result(
    tmp_path: Path, bad: int, kept: int
) -> None:
    model, optimizer = toy()

    def losses(step: int) -> dict[str, torch.Tensor]:
        weight = model[0].weight.flatten()[0]
        total = losses_of(model)(step)["total"]
        return {
            "total": total + (0 * weight.detach() * weight).sqrt() if step == bad else total
        }  # 0, its gradient NaN

    with pytest.raises(
        InputError,
        match=rf"toy: after step {bad + 1}, of rows of {bad}, \S+ is not finite though the losses were",
    ):
        fit(
            model, optimizer, losses, steps=60, rate=lambda s: poly(s, 60), scratch=tmp_path, checkpoint_seconds=0,
            name="toy", log=unheard, batch=lambda step: f"rows of {step}",
        )  # fmt: skip
    assert torch.load(tmp_path / "checkpoint.pt", weights_only=True)["done"] == kept


@pytest.mark.skipif(sys.platform == "win32", reason="no limit on the size of files there")
def test_a_checkpoint_that_does_not_fit_leaves_the_last_one(tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        run(tmp_path / "a", stop_at=15)
    before = (tmp_path / "a" / "checkpoint.pt").read_bytes()
    with (
        at_most(1000),
        pytest.raises(
            InputError, match=r"checkpoint\.pt: cannot be written, most likely for want of space"
        ),
    ):
        run(tmp_path / "a")
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["checkpoint.pt"]
    assert (tmp_path / "a" / "checkpoint.pt").read_bytes() == before


def test_no_steps_leave_the_weights_alone(tmp_path: Path) -> None:
    model, _ = toy()
    kept, history = run(tmp_path / "a", steps=0)
    assert all(torch.equal(kept[key], value) for key, value in model.state_dict().items())
    assert history.empty


def test_poly_falls_from_one_to_zero() -> None:
    assert [poly(s, 4) for s in (0, 2, 4, 5)] == [1.0, pytest.approx(0.5**0.9), 0.0, 0.0]


@pytest.mark.parametrize("stop_at", [None, 35, 45])
def test_selection_keeps_the_weights_of_the_best_score(tmp_path: Path, stop_at: int | None) -> None:
    scores = {20: 0.3, 40: 0.9, 60: 0.9}
    kept: dict[int, dict[str, torch.Tensor]] = {}

    def train(stop_at: int | None) -> dict[str, torch.Tensor]:
        model, optimizer = toy()
        taken = []

        def losses(step: int) -> dict[str, torch.Tensor]:
            taken.append(step)
            return losses_of(model, stop_at)(step)

        def score() -> float:
            done = taken[-1] + 1
            kept[done] = {key: value.clone() for key, value in model.state_dict().items()}
            model.eval()
            return scores[done]

        fit(
            model, optimizer, losses, steps=60, rate=lambda s: poly(s, 60), scratch=tmp_path, checkpoint_seconds=0,
            name="toy", log=unheard, batch=str, selection=Selection(20, score),
        )  # fmt: skip
        return model.state_dict()

    if stop_at is not None:
        with pytest.raises(Interrupted):
            train(stop_at)
    result = train(None)
    assert all(torch.equal(result[key], kept[40][key]) for key in result)
    assert not all(torch.equal(result[key], kept[60][key]) for key in result)
