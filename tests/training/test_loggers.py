"""Losses in the files of TensorBoard and Weights & Biases."""

import json
import sys
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tris_core.runtime.errors import InputError
from tris_core.training.loggers import Logger, open_log

ROWS = {10: {"total": 1.5, "cls": 0.25}, 20: {"total": 0.75, "cls": 0.125}}


@pytest.fixture
def logs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TRIS_SCRATCH", str(tmp_path))
    monkeypatch.setenv("DVC_EXP_NAME", "cls-0")
    return tmp_path / "logs" / "cls-0" / "step1"


def write(logger: Logger) -> None:
    with open_log(logger, "step1") as log:
        for step, row in ROWS.items():
            log(step, row)


def test_csv_writes_no_log(logs: Path) -> None:
    write("csv")
    assert not logs.exists()


def test_tensorboard_has_every_loss(logs: Path) -> None:
    write("tensorboard")
    events = EventAccumulator(str(logs)).Reload()
    for name in ("total", "cls"):
        found = {event.step: event.value for event in events.Scalars(f"step1/{name}")}
        assert found == {step: row[name] for step, row in ROWS.items()}


def test_wandb_writes_offline(logs: Path) -> None:
    write("wandb")
    (file,) = logs.glob("wandb/offline-run-*/*.wandb")
    whole = file.read_bytes()  # protobuf records, with values as JSON
    blocks = [whole[start : start + 2**15] for start in range(0, len(whole), 2**15)]
    content = b"".join(block[7:] for block in blocks)  # a header may be in the middle of a value
    assert all(
        json.dumps(value).encode() in content for row in ROWS.values() for value in row.values()
    )
    assert b"total" in content


@pytest.mark.parametrize("logger", ["tensorboard", "wandb"])
def test_the_error_names_a_missing_package(
    logger: Logger, logs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("tensorboard", "wandb"):
        monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.delitem(sys.modules, "torch.utils.tensorboard", raising=False)
    with pytest.raises(
        InputError, match=rf"runtime.logger: {logger} needs .*install `tris\[{logger}\]`"
    ):
        write(logger)


def test_a_package_missing_in_the_training_is_not_blamed_on_the_logger(logs: Path) -> None:
    with pytest.raises(ModuleNotFoundError, match="pydensecrf"), open_log("tensorboard", "step1"):
        raise ModuleNotFoundError("pydensecrf", name="pydensecrf")
