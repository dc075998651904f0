"""Work over threads keeps its order, takes few items at a time and restores torch's threads."""

import sys
import threading
from collections.abc import Iterator

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tris_core.runtime.frames import ready
from tris_core.runtime.processes import cores
from tris_core.runtime.threads import map_in_threads, prefetch


@pytest.fixture(autouse=True)
def three_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


def test_map_in_threads_uses_torchs_threads_with_one_core_each() -> None:
    together = threading.Barrier(3, timeout=20)

    def work(item: int) -> tuple[int, int]:
        together.wait()
        return item, torch.get_num_threads()

    assert list(map_in_threads(work, range(9))) == [(item, 1) for item in range(9)]
    assert torch.get_num_threads() == 3


def test_items_are_taken_when_needed() -> None:
    taken = []

    def items() -> Iterator[int]:
        for item in range(100):
            taken.append(item)
            yield item

    results = map_in_threads(lambda item: item, items())
    assert next(results) == 0
    assert len(taken) < 10
    assert list(results) == list(range(1, 100))


def test_an_error_is_raised_and_the_threads_are_restored() -> None:
    with pytest.raises(ZeroDivisionError):
        list(map_in_threads(lambda item: 1 // item, [1, 0, 2]))
    assert torch.get_num_threads() == 3


def test_prefetch_reads_the_next_item_before_it_is_asked_for() -> None:
    read = {step: threading.Event() for step in range(4)}

    def square(step: int) -> int:
        read[step].set()
        return step**2

    squares = prefetch(square, range(1, 4))
    assert not read[1].is_set()
    assert next(squares) == 1
    assert read[2].wait(20)
    assert not read[3].wait(0.1), "no more than one ahead"
    assert list(squares) == [4, 9]
    assert not read[0].is_set()


@given(steps=st.lists(st.integers(0, 5)))
def test_prefetch_is_map(steps: list[int]) -> None:
    assert list(prefetch(lambda step: step**2, steps)) == [step**2 for step in steps]


def test_prefetch_raises_an_error_at_the_item_it_belongs_to() -> None:
    inverses = prefetch(lambda step: 1 / (step - 2), range(1, 4))
    assert next(inverses) == -1
    with pytest.raises(ZeroDivisionError):
        next(inverses)


@pytest.mark.skipif(
    sys.platform != "linux", reason="only Linux tells which cores a process may run on"
)
@pytest.mark.parametrize(("usable", "processes", "share"), [(8, "1", 8), (8, "3", 2), (2, "4", 1)])
def test_cores_are_divided_among_torchruns_processes(
    usable: int, processes: str, share: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: set(range(usable)))
    monkeypatch.setenv("LOCAL_WORLD_SIZE", processes)
    assert cores() == share


def test_threads_find_every_row_of_a_table_made_ready() -> None:
    """Without `ready`, threads may miss rows while pandas builds its hash table."""
    for _ in range(20):
        table = pd.DataFrame(
            {"value": range(200_000)}, index=np.random.default_rng(0).permutation(200_000)
        )
        ready(table)
        assert all(
            map_in_threads(lambda i, table=table: table.at[i, "value"] is not None, range(200))
        )
        for axis in table.axes:
            assert axis._engine.is_mapping_populated
