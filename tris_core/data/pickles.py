"""Pickle files as data: plain values are read, code is refused.

A pickle is a program. refer and ReferIt ship their annotations as Python 2 era pickles of dicts, lists and strings,
which need no program beyond what is allowed here, so a downloaded file cannot run anything.
"""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tris_core.errors import InputError


def load_plain_pickle(path: Path) -> Any:
    """Read a pickle of dict, list, tuple, set, str, bytes, int, float, bool and None, of any protocol.

    Python 2 byte strings come back as str, read as latin-1. Raises `InputError` if the file is missing or no pickle, or
    if it names any class or function, whether or not it would call it.
    """
    try:
        with path.open("rb") as file:
            return _PlainUnpickler(file, path).load()
    except InputError:
        raise
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file; download it or correct the path") from error
    except Exception as error:  # a damaged pickle raises nearly anything: EOFError, KeyError, UnicodeDecodeError, ...
        raise InputError(f"{path}: not a readable pickle ({error}); download the file again") from error


class _PlainUnpickler(pickle.Unpickler):
    def __init__(self, file: Any, path: Path) -> None:
        super().__init__(file, encoding="latin1")
        self._path = path

    def find_class(self, module: str, name: str) -> Callable[..., Any]:
        if (module, name) in _PLAIN_GLOBALS:
            return _PLAIN_GLOBALS[module, name]
        raise InputError(
            f"{self._path}: the pickle asks for {module}.{name}, which could run code; only plain dicts, lists, "
            "strings and numbers are read. Get the file from its original source, or save it again without such objects"
        )


def _to_bytes(text: str, encoding: str) -> bytes:
    """Stands in for `_codecs.encode`, as which protocols below 3 store bytes; no other codec is ever needed."""
    if encoding != "latin1":
        raise ValueError(f"bytes stored with the codec {encoding!r}")
    return text.encode("latin1")


# Plain values that old protocols have no opcode for. ReferIt's release needs the first.
_PLAIN_GLOBALS: dict[tuple[str, str], Callable[..., Any]] = {
    ("_codecs", "encode"): _to_bytes,
    ("__builtin__", "set"): set,
    ("builtins", "set"): set,
}
