"""A few inputs for every fuzz target, drawn by hypothesis. `python -m tests.fuzz` tries more."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.targets import Target, only_input_errors, targets

NAMES = ("pickle", "refer", "referit", "list", "rle", "masks", "params",
         "checkpoint", "script", "legacy", "safetensors", "model", "released",
         "list_table", "masks_table", "responses_table", "labels_table")  # fmt: skip
Made = dict[str, tuple[Target, list[bytes]]]


class Drawn:
    """Choices read from bytes, two each; the minimum once the bytes are used up."""

    def __init__(self, data: bytes) -> None:
        self._data = iter(data)

    def ConsumeIntInRange(self, least: int, most: int) -> int:
        drawn = next(self._data, 0) << 8 | next(self._data, 0)
        return least + drawn % (most - least + 1)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return targets(tmp_path_factory.mktemp("fuzz"))


@pytest.mark.parametrize("name", NAMES)
@settings(  # the same inputs every time: some damaged footers make pyarrow abort the process
    max_examples=25, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
)
@given(data=st.data())
def test_a_reader_returns_data_or_raises_an_input_error(
    name: str, made: Made, data: st.DataObject
) -> None:
    target, seeds = made[name]
    drawn = data.draw(st.binary(min_size=60, max_size=60))
    if seeds:
        seed = data.draw(st.sampled_from(seeds))
        start = data.draw(st.integers(0, len(seed)))
        drawn = (
            seed[:start]
            + data.draw(st.binary(max_size=4))
            + seed[start + data.draw(st.integers(0, 4)) :]
        )
    only_input_errors(target, drawn, Drawn(drawn))


def test_every_target_is_tested(made: Made) -> None:
    assert made.keys() == set(NAMES)
