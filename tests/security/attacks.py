"""Pickles that try to run code, to reach something that could, or to fill memory or time; made here, byte by byte."""

import pickle
import struct
from pathlib import Path


def runs(module: str, name: str, argument: str) -> bytes:
    """GLOBAL and REDUCE of protocol 2."""
    return (
        b"\x80\x02c"
        + f"{module}\n{name}\n".encode()
        + b"X"
        + struct.pack("<I", len(argument))
        + argument.encode()
        + b"\x85R."
    )


def text(value: str) -> bytes:
    return b"\x8c" + bytes([len(value)]) + value.encode()


def stack_global(*parts: str) -> bytes:
    return b"".join(map(text, parts)) + b"\x93"


def doubled(opening: bytes, times: int, ending: bytes) -> bytes:
    """A structure of 2^times parts in a few bytes each: every level holds the one below twice (DUP)."""
    return b"\x80\x04" + opening + b"2\x86" * times + ending


def running(marker: Path) -> dict[str, bytes]:
    """By name: each makes the file `marker` where a careless reader follows it."""
    touch, make = f"touch {marker}", f"open({str(marker)!r}, 'w')"
    return {
        "os.system": runs("os", "system", touch),
        "posix.system": runs("posix", "system", touch),
        "builtins.eval": runs("builtins", "eval", make),
        "Python 2's eval": runs("__builtin__", "eval", make),
        "builtins.exec": runs("builtins", "exec", make),
        "subprocess": runs("subprocess", "getoutput", touch),
        "runpy": runs("runpy", "run_path", str(marker)),
        "a dotted name": b"\x80\x04" + stack_global("os", "path.os.system") + text(touch) + b"\x85R.",
        "STACK_GLOBAL": b"\x80\x04" + stack_global("posix", "system") + text(touch) + b"\x85R.",
        "names out of the memo": b"\x80\x04" + text("os") + b"\x940" + text("system") + b"\x940h\x00h\x01\x93" + text(touch)
        + b"\x85R.",
        "getattr on a module": b"\x80\x04" + stack_global("builtins", "getattr") + stack_global("builtins", "__import__")
        + text("os") + b"\x85R" + text("system") + b"\x86R" + text(touch) + b"\x85R.",
        "INST": b"(S" + repr(touch).encode() + b"\nios\nsystem\n.",
        "OBJ": b"(cos\nsystem\nS" + repr(touch).encode() + b"\no.",
        "NEWOBJ": b"\x80\x02csubprocess\nPopen\n](U\x05touch" + text(str(marker)) + b"e\x85\x81.",
        "a pickle in a pickle": runs("_pickle", "loads", "") .replace(
            b"X\x00\x00\x00\x00", b"B" + struct.pack("<I", len(inner := runs("os", "system", touch))) + inner
        ),
        "in the middle of good data": b"\x80\x02]q\x00(K\x01" + runs("os", "system", touch)[2:-1] + b"e.",
    }  # fmt: skip


# Nothing runs here even without care; what is asked for is still refused.
REFUSED = {
    "code of a function": (b"\x80\x02ctypes\nCodeType\n)R.", "types.CodeType"),
    "a class alone": (b"\x80\x02cos\nsystem\n.", "os.system"),
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
# Each would take gigabytes, or years.
BOMBS = {
    "a memo of 2^31 places": (b"\x80\x02K\x01r\xff\xff\xff\x7f.", None),
    "a text of 2^60 letters": (b"\x80\x04\x8d" + struct.pack("<Q", 1 << 60) + b"a.", "not a readable pickle"),
    "a frame of 2^60 bytes": (b"\x80\x04\x95" + struct.pack("<Q", 1 << 60) + b"K\x01.", None),
    "a bytearray of 2^33 bytes": (b"\x80\x05\x96" + struct.pack("<Q", 1 << 33) + b"a.", "is not needed by plain data"),
    "a key of 2^60 parts": (doubled(b"}K\x01", 60, b"K\x01s."), "not a plain key"),
    "a set of 2^60 parts": (b"\x80\x04\x8f(K\x01" + b"2\x86" * 60 + b"\x90.", "not a plain key"),
    "bytes of a text again and again": (
        b"\x80\x02](c_codecs\nencode\nq\x000X" + struct.pack("<I", 10**5) + b"a" * 10**5 + b"q\x010"
        + b"h\x00h\x01U\x06latin1\x86R" * 10**5 + b"e.", "more than it holds",
    ),
}  # fmt: skip
