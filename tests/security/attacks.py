"""Pickles that try to run code or to exhaust memory or time, written byte by byte."""

import pickle
import struct
from pathlib import Path


def runs(module: str, name: str, argument: str) -> bytes:
    """Call `module.name(argument)` with GLOBAL and REDUCE of protocol 2."""
    function = f"c{module}\n{name}\n".encode()
    value = b"X" + struct.pack("<I", len(argument)) + argument.encode()
    return b"\x80\x02" + function + value + b"\x85R."


def text(value: str) -> bytes:
    return b"\x8c" + bytes([len(value)]) + value.encode()


def stack_global(*parts: str) -> bytes:
    return b"".join(map(text, parts)) + b"\x93"


def doubled(opening: bytes, times: int, ending: bytes) -> bytes:
    """Nested tuples of 2^times parts in a few bytes: each level holds the one below twice (DUP)."""
    return b"\x80\x04" + opening + b"2\x86" * times + ending


def running(marker: Path) -> dict[str, bytes]:
    """Attacks by name. Each creates the file `marker` if a reader runs its code."""
    touch, make = f"touch {marker}", f"open({str(marker)!r}, 'w')"
    call = text(touch) + b"\x85R."
    inner = runs("os", "system", touch)
    memo = text("os") + b"\x940" + text("system") + b"\x940h\x00h\x01"
    imported = stack_global("builtins", "__import__") + text("os") + b"\x85R"
    getattr_system = stack_global("builtins", "getattr") + imported + text("system") + b"\x86R"
    popen = b"csubprocess\nPopen\n](U\x05touch" + text(str(marker)) + b"e\x85\x81."
    in_bytes = b"B" + struct.pack("<I", len(inner)) + inner
    return {
        "os.system": runs("os", "system", touch),
        "posix.system": runs("posix", "system", touch),
        "builtins.eval": runs("builtins", "eval", make),
        "Python 2's eval": runs("__builtin__", "eval", make),
        "builtins.exec": runs("builtins", "exec", make),
        "subprocess": runs("subprocess", "getoutput", touch),
        "runpy": runs("runpy", "run_path", str(marker)),
        "a dotted name": b"\x80\x04" + stack_global("os", "path.os.system") + call,
        "STACK_GLOBAL": b"\x80\x04" + stack_global("posix", "system") + call,
        "names from the memo": b"\x80\x04" + memo + b"\x93" + call,
        "getattr on a module": b"\x80\x04" + getattr_system + call,
        "INST": b"(S" + repr(touch).encode() + b"\nios\nsystem\n.",
        "OBJ": b"(cos\nsystem\nS" + repr(touch).encode() + b"\no.",
        "NEWOBJ": b"\x80\x02" + popen,
        "a pickle in a pickle": runs("_pickle", "loads", "").replace(b"X" + bytes(4), in_bytes),
        "in the middle of valid data": b"\x80\x02]q\x00(K\x01" + inner[2:-1] + b"e.",
    }


# These run nothing even in a careless reader, but plain data do not need them.
REFUSED = {
    "code of a function": (b"\x80\x02ctypes\nCodeType\n)R.", "types.CodeType"),
    "only a class": (b"\x80\x02cos\nsystem\n.", "os.system"),
    "numpy's reconstruct": (
        b"\x80\x02cnumpy.core.multiarray\n_reconstruct\n.",
        "numpy.core.multiarray._reconstruct",
    ),
    "encode, then its attribute": (
        b"\x80\x04" + stack_global("_codecs", "encode.__globals__") + b".",
        "encode.__globals__",
    ),
    "the extension registry": (b"\x80\x02\x82\x01.", "is not needed by plain data"),
    "a persistent id": (b"\x80\x02K\x01Q.", "is not needed by plain data"),
    "BUILD on a stand-in": (
        b"\x80\x02c_codecs\nencode\n}U\x01aK\x01sb.",
        "is not needed by plain data",
    ),
    "a call of no function": (b"\x80\x02})R.", "not callable"),
    "encode of numbers": (b"\x80\x02c_codecs\nencode\nK\x01K\x02\x86R.", "not a readable pickle"),
    "encode without arguments": (b"\x80\x02c_codecs\nencode\n)R.", "not a readable pickle"),
    "a set of a number": (b"\x80\x02c__builtin__\nset\nK\x01\x85R.", "not a readable pickle"),
    "a set of lists": (b"\x80\x02c__builtin__\nset\n](]e\x85R.", "not a plain key"),
    "a long integer": (pickle.dumps(1 << 20_000, protocol=2), "is not needed by plain data"),
}
LETTERS = b"X" + struct.pack("<I", 10**5) + b"a" * 10**5
ENCODED = b"h\x00h\x01U\x06latin1\x86R" * 10**5  # the same letters encoded 10^5 times
# Each would take gigabytes of memory, or years. None: read without harm.
BOMBS = {
    "a memo of 2^31 places": (b"\x80\x02K\x01r\xff\xff\xff\x7f.", None),
    "a text of 2^60 letters": (
        b"\x80\x04\x8d" + struct.pack("<Q", 1 << 60) + b"a.",
        "not a readable pickle",
    ),
    "a frame of 2^60 bytes": (b"\x80\x04\x95" + struct.pack("<Q", 1 << 60) + b"K\x01.", None),
    "a bytearray of 2^33 bytes": (
        b"\x80\x05\x96" + struct.pack("<Q", 1 << 33) + b"a.",
        "is not needed by plain data",
    ),
    "a key of 2^60 parts": (doubled(b"}K\x01", 60, b"K\x01s."), "not a plain key"),
    "a set of 2^60 parts": (
        b"\x80\x04\x8f(K\x01" + b"2\x86" * 60 + b"\x90.",
        "not a plain key",
    ),
    "one text encoded again and again": (
        b"\x80\x02](c_codecs\nencode\nq\x000" + LETTERS + b"q\x010" + ENCODED + b"e.",
        "more than it holds",
    ),
}
