"""The fuzzed readers on a few inputs each, drawn by hypothesis; `python -m tests.fuzz` goes on for as long as one likes."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.targets import Target, only_input_errors, targets

NAMES = ("pickle", "refer", "referit", "list", "rle", "masks", "params",
         "checkpoint", "script", "legacy", "safetensors", "model", "released",
         "list_table", "masks_table", "responses_table", "labels_table")  # fmt: skip
Made = dict[str, tuple[Target, list[bytes]]]


class Drawn:
    """Choices out of bytes, two for each; the least where there are no more."""

    def __init__(self, data: bytes) -> None:
        self._data = iter(data)

    def ConsumeIntInRange(self, least: int, most: int) -> int:
        drawn = next(self._data, 0) << 8 | next(self._data, 0)
        return least + drawn % (most - least + 1)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return targets(tmp_path_factory.mktemp("fuzz"))


@pytest.mark.parametrize("name", NAMES)
@settings(  # the same inputs every time: pyarrow aborts the process on some damaged footers
    max_examples=25, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
)
@given(data=st.data())
def test_what_is_read_is_data_or_an_input_error(name: str, made: Made, data: st.DataObject) -> None:
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


def test_every_target_is_tried(made: Made) -> None:
    assert made.keys() == set(NAMES)
