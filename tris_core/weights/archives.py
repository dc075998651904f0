"""Files of weights, read as data: nothing in them is executed."""

import json
import pickle
import re
import zipfile
from collections import Counter, OrderedDict
from pathlib import Path, PurePosixPath
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from tris_core.runtime.errors import InputError
from tris_core.runtime.pickles import PurePickle

MAX_HEADER = 1 << 20  # bytes: enough for 7,000 tensors; the largest CLIPs have 2,000
_FOREIGN = re.compile(r"Unsupported (?:global: GLOBAL|class|operand) (\S+)")


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a TorchScript archive, a `.safetensors` file or what `torch.save` wrote.

    Returns:
        Tensors by name; from `torch.save`, whatever dict was saved.

    Raises:
        InputError: the file is missing or damaged, or asks for anything beyond tensors and plain
            values.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file; download it or correct the path")
    try:
        _refuse_pages(path)
        if path.suffix == ".safetensors":
            _refuse_repeated_names(path)
            return load_file(path)
        _refuse_bombs(path)
        if is_torchscript(path):
            content: Any = _read_torchscript(path)
        else:
            content = torch.load(path, map_location="cpu", weights_only=True)
    except InputError:
        raise
    except pickle.UnpicklingError as error:
        asked = _FOREIGN.search(str(error))  # the rest is torch's advice to trust the file
        what = f" (it asks for {asked[1]})" if asked else ""
        raise InputError(
            f"{path}: holds more than tensors and plain values{what}; get it from its source"
        ) from error
    except Exception as error:  # torch raises nearly anything about a damaged file
        raise InputError(
            f"{path}: not a readable file of weights ({_reason(error)}); download it again"
        ) from error
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise InputError(
            f"{path}: holds a {type(content).__name__}, expected a dict of tensors by name"
        )
    for key, value in content.items():
        _refuse_expanded(path, key, value)
    return content


def _reason(error: Exception) -> str:
    return (str(error) or repr(error)).splitlines()[0][:300]


def _refuse_pages(path: Path) -> None:
    """Refuse a web page about a file that was saved under the file's name."""
    with path.open("rb") as file:
        start = file.read(1000).lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if start.startswith((b"<!doctype", b"<html", b"<?xml", b"<head")):
        raise InputError(
            f"{path}: is an HTML page, not a file of weights; "
            "open its link in a browser and download the file"
        )


def _refuse_repeated_names(path: Path) -> None:
    """Refuse a safetensors header with a name twice: readers differ in which tensor they take."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > MAX_HEADER:
            raise ValueError(f"a header of {length} bytes, more than {MAX_HEADER}")
        header = file.read(length)
    json.loads(header, object_pairs_hook=_once)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        counts = Counter(name for name, _ in pairs)
        raise ValueError(f"its header holds {counts.most_common(1)[0][0]} twice")
    return content


def _refuse_bombs(path: Path) -> None:
    """Refuse an archive that unpacks to more than its own size.

    torch stores tensors uncompressed. A small file of packed zeros, or of parts that overlap,
    could fill the memory.
    """
    if not zipfile.is_zipfile(path):
        return
    code = (".py", ".debug_pkl") if is_torchscript(path) else ()  # compressed, and never read
    with zipfile.ZipFile(path) as archive:
        entries = [entry for entry in archive.infolist() if not entry.filename.endswith(code)]
        size = sum(entry.file_size for entry in entries)
    if size > path.stat().st_size:
        raise InputError(
            f"{path}: {path.stat().st_size} bytes that unpack to {size}; save it again uncompressed"
        )


def _refuse_expanded(path: Path, key: str, value: Any) -> None:
    """Refuse a tensor with strides of 0: its first copy could fill the memory."""
    for name, part in value.items() if isinstance(value, dict) else [("", value)]:
        if not isinstance(part, Tensor):
            continue
        where = f"{path}: {key}{name and f'.{name}'}"
        if part.layout is not torch.strided or part.is_quantized or part.device.type != "cpu":
            raise InputError(
                f"{where} is no plain tensor; save it dense, unquantised and from the CPU"
            )
        if part.numel() * part.element_size() > part.untyped_storage().nbytes():
            raise InputError(
                f"{where} of shape {list(part.shape)} repeats its numbers; save it contiguous"
            )


def is_torchscript(path: Path) -> bool:
    """Whether a file is a TorchScript archive, the form OpenAI published CLIP in."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(PurePosixPath(name).name == "constants.pkl" for name in archive.namelist())


def _read_torchscript(path: Path) -> dict[str, Tensor]:
    """Every tensor of a TorchScript module by its dotted name, plain tensor attributes included.

    `torch.jit.load` would compile and run the archive's code, and `torch.load(weights_only=True)`
    refuses these archives. Their tensors are in `data.pkl`, a pickle of nested objects (one per
    module, its fields as state), and in one file per storage. Neither needs the code.
    """
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        pickled = next(name for name in names if PurePosixPath(name).name == "data.pkl")
        folder = str(PurePosixPath(pickled).parent)
        with archive.open(pickled) as file:
            try:
                root = _ModuleUnpickler(file, archive, folder, path).load()
            except InputError:
                raise
            except Exception as error:  # a damaged pickle raises nearly anything
                raise InputError(
                    f"{path}: {pickled} is not a readable TorchScript module ({error}); "
                    "download it again"
                ) from error
    if not isinstance(root, _Module):
        raise InputError(
            f"{path}: {pickled} holds no module; expected OpenAI's archive as published"
        )
    return dict(_tensors(root, ""))


def _tensors(module: "_Module", prefix: str) -> list[tuple[str, Tensor]]:
    found: list[tuple[str, Tensor]] = []
    for name, value in module.fields.items():
        if isinstance(value, _Module):
            found += _tensors(value, f"{prefix}{name}.")
        elif isinstance(value, Tensor):
            found.append((prefix + name, value))
    return found


class _Module:
    """Stands in for any class of the archive's code: it keeps the fields and does nothing."""

    fields: dict[str, Any]

    def __new__(cls) -> "_Module":
        module = super().__new__(cls)
        module.fields = {}
        return module

    def __setstate__(self, state: dict[str, Any]) -> None:
        if not isinstance(state, dict) or not all(isinstance(name, str) for name in state):
            raise ValueError("a module's state is not a dict of named fields")
        self.fields = state


class _Rebuild:
    """`torch._utils._rebuild_tensor_v2`, as an object that a pickle can call but not change."""

    __slots__ = ()

    def __call__(
        self, storage: Tensor, offset: int, size: Any, stride: Any, requires_grad: bool, hooks: Any
    ) -> Tensor:
        needed = offset + sum((n - 1) * s for n, s in zip(size, stride, strict=True)) + 1
        if min((offset, *size, *stride)) < 0 or (0 not in size and needed > storage.numel()):
            raise ValueError(
                f"a tensor of size {tuple(size)} does not fit "
                f"its storage of {storage.numel()} numbers"
            )
        return storage.as_strided(tuple(size), tuple(stride), offset)


class _Plain:
    """`torch.jit._pickle`'s typed lists: the list itself."""

    __slots__ = ()

    def __call__(self, values: list[Any], *_: str) -> list[Any]:
        return values


_DTYPES = {
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}
_LISTS = (
    "build_intlist",
    "build_doublelist",
    "build_boollist",
    "build_tensorlist",
    "restore_type_tag",
)


class _ModuleUnpickler(PurePickle):
    """Knows tensors, ordered dicts, typed lists and module placeholders, and refuses the rest."""

    BEYOND = ("NEWOBJ", "BUILD", "BINPERSID")

    def __init__(self, file: Any, archive: zipfile.ZipFile, folder: str, path: Path) -> None:
        super().__init__(file)
        self._archive, self._folder, self._path = archive, folder, path
        self._storages: dict[int, bytearray] = {}  # each is read once

    def find_class(self, module: str, name: str) -> Any:
        if module.split(".")[0] == "__torch__":
            # a fresh class per name, so a pickle cannot alter shared state
            return type(name, (_Module,), {})
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _Rebuild()
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if module == "torch" and name in _DTYPES:
            return _DTYPES[name]
        if module == "torch.jit._pickle" and name in _LISTS:
            return _Plain()
        raise InputError(
            f"{self._path}: the archive asks for {module}.{name}, which could run code; "
            "a CLIP needs tensors and modules only. Get the file from its original source"
        )

    def persistent_load(self, pid: Any) -> Tensor:
        kind, dtype, key, _, count = pid
        number = int(key)
        if kind != "storage":
            raise ValueError(f"persistent id of kind {kind!r}")
        if number not in self._storages:
            self._storages[number] = bytearray(self._archive.read(f"{self._folder}/data/{number}"))
        data = self._storages[number]
        if len(data) != count * dtype.itemsize:
            raise ValueError(
                f"storage {key} has {len(data)} bytes, expected {count} numbers of {dtype}"
            )
        return torch.frombuffer(data, dtype=dtype) if data else torch.empty(0, dtype=dtype)
