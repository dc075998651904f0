"""Reading pickle files as data: plain values are read, code is refused.

A pickle is a program. refer and ReferIt ship their annotations as Python 2 pickles of dicts, lists
and strings, which need only a few instructions and no class. Only these are carried out here, so a
downloaded file cannot run code. What they build is bounded by the file's size, so it cannot fill
the memory or compute forever.
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
_LONGEST_KEY = 8  # atoms in a tuple that is a key; hashing nested tuples could take forever


def load_plain_pickle(path: Path) -> Any:
    """Read a pickle of plain values, of any protocol.

    Plain values are dict, list, tuple, set, str, bytes, int, float, bool and None. Python 2 byte
    strings become str, decoded as latin-1.

    Raises:
        InputError: the file is missing or damaged, names any class or function (even without
            calling it), or has a dict key that is neither a plain value nor a short tuple of them.
    """
    try:
        return _PlainUnpickler(path.read_bytes(), path).load()
    except InputError:
        raise
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file; download it or correct the path") from error
    except Exception as error:  # damaged pickles raise EOFError, KeyError, UnicodeDecodeError, ...
        raise InputError(
            f"{path}: not a readable pickle ({str(error)[:200]}); download the file again"
        ) from error


_Base: Any = pickle._Unpickler


class _Allowed(dict[int, Callable[[Any], None]]):
    def __missing__(self, code: int) -> Callable[[Any], None]:
        raise ValueError(f"instruction {bytes([code])!r} is not needed by plain data")


# Without LONG4, which stores integers of more than 2000 bits.
_PLAIN = (
    "PROTO", "FRAME", "MARK", "STOP", "POP", "POP_MARK", "DUP", "GLOBAL", "STACK_GLOBAL", "REDUCE",
    "NONE", "NEWTRUE", "NEWFALSE", "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1",
    "FLOAT", "BINFLOAT",
    "STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE",
    "BINUNICODE8",
    "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "TUPLE", "EMPTY_TUPLE", "TUPLE1", "TUPLE2", "TUPLE3",
    "EMPTY_LIST", "LIST", "APPEND", "APPENDS", "EMPTY_DICT", "DICT", "SETITEM", "SETITEMS",
    "EMPTY_SET", "ADDITEMS",
    "GET", "BINGET", "LONG_BINGET", "PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE",
)  # fmt: skip


class PurePickle(_Base):
    """Python's unpickler in Python, restricted to the instructions of plain data and `BEYOND`.

    The C unpickler lets a file of 20 bytes allocate a memo of many gigabytes. Keys are plain values
    or short tuples of them, since hashing nested tuples could take forever.
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
        # what `_to_bytes` and `_to_set` may still copy; a file contains everything they are given
        self._room = len(content)

    def find_class(self, module: str, name: str) -> Callable[..., Any]:
        """Stand-ins for the calls with which old protocols store plain values.

        ReferIt's release needs `_codecs.encode`.
        """
        if (module, name) == ("_codecs", "encode"):
            return self._to_bytes
        if module in ("__builtin__", "builtins") and name == "set":
            return self._to_set
        problem = f"the pickle asks for {module}.{name}, which could run code"
        allowed = "only plain dicts, lists, strings and numbers are read"
        raise InputError(f"{self._path}: {problem}; {allowed}. {_SOURCE}")

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
