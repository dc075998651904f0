"""Speed of a training."""

import time

import pytest
import torch

from tris_core.training.speed import Speed, matrix_rate

CPU = torch.device("cpu")


def test_the_clock_starts_after_the_first_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([100.0, 102.0, 105.0])
    monkeypatch.setattr(time, "perf_counter", lambda: next(clock))
    speed = Speed(16, CPU, "fp32")
    with speed.first_step():
        assert speed.rate() == speed.describe() == ""
    speed.count(10)
    assert speed.rate() == ""
    speed.count(10)
    assert speed.rate() == "80 images/s"
    speed.count(5)
    assert speed.describe() == "48 images/s"


def test_a_gpu_is_measured_against_its_matrix_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its counters are replaced; the operations are counted on the CPU."""
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: 12.34e9)
    monkeypatch.setattr("tris_core.training.speed.matrix_rate", lambda *_: 4e6)
    speed = Speed(4, torch.device("cuda"), "bf16")
    weight = torch.rand(50, 50, requires_grad=True)
    with speed.first_step():
        (torch.rand(100, 50) @ weight).sum().backward()
    clock = iter([0.0, 2.0])
    monkeypatch.setattr(time, "perf_counter", lambda: next(clock))
    speed.count(1)
    speed.count(4)
    assert speed.describe() == "8 images/s, 12.3 GB, 2e-06 TFLOP/s (50% of a product's)"


def test_the_rate_of_a_product_is_measured() -> None:
    assert 1e6 < matrix_rate(CPU, "fp32", side=64) < 1e15
