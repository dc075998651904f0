"""Work spread over threads: in order, a few items at a time, torch's threads left as they were."""

import threading
from collections.abc import Iterator

import pytest
import torch

from tris_core.threads import map_in_threads


@pytest.fixture(autouse=True)
def three_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


def test_results_come_in_order_from_as_many_threads_as_torch_has_each_with_one() -> None:
    together = threading.Barrier(3, timeout=20)

    def work(item: int) -> tuple[int, int]:
        together.wait()
        return item, torch.get_num_threads()

    assert list(map_in_threads(work, range(9))) == [(item, 1) for item in range(9)]
    assert torch.get_num_threads() == 3


def test_items_are_taken_as_they_are_needed() -> None:
    taken = []

    def items() -> Iterator[int]:
        for item in range(100):
            taken.append(item)
            yield item

    results = map_in_threads(lambda item: item, items())
    assert next(results) == 0
    assert len(taken) < 10
    assert list(results) == list(range(1, 100))


def test_an_error_is_raised_here_and_the_threads_are_set_back() -> None:
    with pytest.raises(ZeroDivisionError):
        list(map_in_threads(lambda item: 1 // item, [1, 0, 2]))
    assert torch.get_num_threads() == 3
