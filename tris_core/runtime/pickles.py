"""Pickle files as data: plain values are read, code is refused.

A pickle is a program. refer and ReferIt ship their annotations as Python 2 era pickles of dicts, lists and strings, which
need a few of a pickle's instructions and no class. Only those are carried out here, so a downloaded file cannot run anything;
and what they build is bounded by the file's size, so it cannot fill the memory or compute for ever either.
"""

import io
import pickle
import reprlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tris_core.runtime.errors import InputError

_SOURCE = "Get the file from its original source, or save it again without such objects"
_ATOMS = frozenset((str, int, float, bool, bytes, type(None)))
_LONGEST_KEY = 8  # atoms of a tuple that is a key: a tuple of tuples could take for ever to hash


def load_plain_pickle(path: Path) -> Any:
    """Read a pickle of dict, list, tuple, set, str, bytes, int, float, bool and None, of any protocol.

    Python 2 byte strings come back as str, read as latin-1. Raises `InputError` if the file is missing or no pickle, if it
    names any class or function, whether or not it would call it, or has a key that is no plain value or short tuple of them.
    """
    try:
        return _PlainUnpickler(path.read_bytes(), path).load()
    except InputError:
        raise
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file; download it or correct the path") from error
    except Exception as error:  # a damaged pickle raises nearly anything: EOFError, KeyError, UnicodeDecodeError, ...
        raise InputError(
            f"{path}: not a readable pickle ({str(error)[:200]}); download the file again"
        ) from error


_Base: Any = pickle._Unpickler


class _Allowed(dict[int, Callable[[Any], None]]):
    def __missing__(self, code: int) -> Callable[[Any], None]:
        raise ValueError(f"instruction {bytes([code])!r} is none that plain data need")


_PLAIN = (
    *(
        "PROTO",
        "FRAME",
        "MARK",
        "STOP",
        "POP",
        "POP_MARK",
        "DUP",
        "GLOBAL",
        "STACK_GLOBAL",
        "REDUCE",
    ),
    *(
        "NONE",
        "NEWTRUE",
        "NEWFALSE",
        "INT",
        "BININT",
        "BININT1",
        "BININT2",
        "LONG",
        "LONG1",
        "FLOAT",
        "BINFLOAT",
    ),
    *(
        "STRING",
        "BINSTRING",
        "SHORT_BINSTRING",
        "UNICODE",
        "BINUNICODE",
        "SHORT_BINUNICODE",
        "BINUNICODE8",
    ),
    *(
        "BINBYTES",
        "SHORT_BINBYTES",
        "BINBYTES8",
        "TUPLE",
        "EMPTY_TUPLE",
        "TUPLE1",
        "TUPLE2",
        "TUPLE3",
    ),
    *(
        "EMPTY_LIST",
        "LIST",
        "APPEND",
        "APPENDS",
        "EMPTY_DICT",
        "DICT",
        "SETITEM",
        "SETITEMS",
        "EMPTY_SET",
        "ADDITEMS",
    ),
    *("GET", "BINGET", "LONG_BINGET", "PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"),
)  # not LONG4, for integers of more than 2000 bits


class PurePickle(_Base):
    """Python's own reader in Python, with the instructions that plain data need and those of the names `BEYOND`.

    With the one in C a file of 20 bytes can ask for a memo of many gigabytes. Keys are plain values or short tuples of them:
    a tuple of tuples of tuples could take for ever to hash.
    """

    BEYOND: tuple[str, ...] = ()

    def __init_subclass__(cls) -> None:
        cls.dispatch = _Allowed(
            {code: _Base.dispatch[code] for code in map(_code, (*_PLAIN, *cls.BEYOND))}
        )
        for name in ("DICT", "SETITEM", "SETITEMS", "ADDITEMS"):
            cls.dispatch[_code(name)] = getattr(cls, f"load_{name.lower()}")

    def _check_keys(self, keys: list[Any]) -> None:
        if _ATOMS.issuperset(map(type, keys)):
            return
        for key in keys:
            flat = key if type(key) is tuple and len(key) <= _LONGEST_KEY else (key,)
            if not all(type(part) in _ATOMS for part in flat):
                raise ValueError(f"not a plain key: {reprlib.repr(key)}")

    def load_dict(self) -> None:
        self._check_keys(self.stack[::2])
        super().load_dict()

    def load_setitem(self) -> None:
        self._check_keys(self.stack[-2:-1])
        super().load_setitem()

    def load_setitems(self) -> None:
        self._check_keys(self.stack[::2])
        super().load_setitems()

    def load_additems(self) -> None:
        self._check_keys(self.stack)
        super().load_additems()


def _code(name: str) -> int:
    code: int = getattr(pickle, name)[0]
    return code


class _PlainUnpickler(PurePickle):
    def __init__(self, content: bytes, path: Path) -> None:
        super().__init__(io.BytesIO(content), encoding="latin1")
        self._path = path
        self._room = len(
            content
        )  # what `_to_bytes` and `_to_set` may yet copy: a file holds whatever they are given

    def find_class(self, module: str, name: str) -> Callable[..., Any]:
        """Stand-ins for the calls as which old protocols store plain values. ReferIt's release needs the first."""
        if (module, name) == ("_codecs", "encode"):
            return self._to_bytes
        if module in ("__builtin__", "builtins") and name == "set":
            return self._to_set
        raise InputError(
            f"{self._path}: the pickle asks for {module}.{name}, which could run code; only plain dicts, lists, "
            f"strings and numbers are read. {_SOURCE}"
        )

    def _to_bytes(self, text: str, encoding: str) -> bytes:
        if encoding != "latin1":
            raise ValueError(f"bytes stored with the codec {encoding!r}")
        self._take(len(text))
        return text.encode("latin1")

    def _to_set(self, values: list[Any]) -> set[Any]:
        self._take(len(values))
        self._check_keys(values)
        return set(values)

    def _take(self, size: int) -> None:
        self._room -= size
        if self._room < 0:
            raise ValueError("it asks for more than it holds")
