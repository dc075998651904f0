"""Plain pickles are read, code is refused and never run."""

import datetime
import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from tris_core.runtime.errors import InputError
from tris_core.runtime.pickles import load_plain_pickle

PLAIN = {
    "a": [1, -(2**70), 2.5, True, None],
    (1, "b"): {"é", "z"},
    "bytes": b"\x00\xff",
    "nested": [({},)],
}


class RunsCode:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.marker),)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_plain_values_come_back_from_every_protocol(tmp_path: Path, protocol: int) -> None:
    path = tmp_path / "plain.p"
    path.write_bytes(pickle.dumps(PLAIN, protocol=protocol))
    loaded = load_plain_pickle(path)
    assert loaded == PLAIN
    assert [type(value) for value in loaded["a"]] == [int, int, float, bool, type(None)]


@pytest.mark.parametrize(
    "written_by_python_2",
    [
        b"(lp0\n(dp1\nS'sent'\np2\nS'caf\\xe9'\np3\nsS'id'\np4\nL12L\nsa.",  # protocol 0
        # protocol 2
        b"\x80\x02]q\x00}q\x01(U\x04sentq\x02U\x04caf\xe9q\x03U\x02idq\x04\x8a\x01\x0cua.",
    ],
)
def test_python_2_strings_are_read_as_latin_1(tmp_path: Path, written_by_python_2: bytes) -> None:
    path = tmp_path / "refs.p"
    path.write_bytes(written_by_python_2)
    assert load_plain_pickle(path) == [{"sent": "café", "id": 12}]


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_code_is_refused_and_not_run(tmp_path: Path, protocol: int) -> None:
    path, marker = tmp_path / "evil.p", tmp_path / "was run"
    path.write_bytes(pickle.dumps([RunsCode(marker)], protocol=protocol))
    with pytest.raises(
        InputError,
        match=r"evil\.p: the pickle asks for (posix|nt)\.mkdir, which could run code.*Get the",
    ):
        load_plain_pickle(path)
    assert not marker.exists()
    # the counter-check: Python's own reader does run the same bytes
    pickle.loads(path.read_bytes())
    assert marker.exists()


@pytest.mark.parametrize(
    ("value", "named"),
    [
        (datetime.date(2020, 1, 1), "datetime.date"),
        (np.float64(1), "numpy"),
        (len, "builtins.len"),
        (int, "builtins.int"),
    ],
)
def test_classes_and_functions_are_named(tmp_path: Path, value: object, named: str) -> None:
    path = tmp_path / "refs.p"
    path.write_bytes(pickle.dumps(value, protocol=4))
    with pytest.raises(InputError, match=named):
        load_plain_pickle(path)


def test_bytes_in_an_old_protocol_take_no_other_codec(tmp_path: Path) -> None:
    path = tmp_path / "refs.p"
    path.write_bytes(b"\x80\x02c_codecs\nencode\nX\x01\x00\x00\x00aX\x05\x00\x00\x00rot13\x86R.")
    with pytest.raises(InputError, match=r"not a readable pickle .*'rot13'"):
        load_plain_pickle(path)


@pytest.mark.parametrize(
    "content", [b"", b"no pickle", pickle.dumps([1, 2], protocol=2)[:-1], b"\x80\x02h\x05."]
)
def test_a_damaged_file_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "refs.p"
    path.write_bytes(content)
    with pytest.raises(
        InputError, match=r"refs\.p: not a readable pickle .*download the file again"
    ):
        load_plain_pickle(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"gone\.p: no such file"):
        load_plain_pickle(tmp_path / "gone.p")
