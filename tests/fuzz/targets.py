"""What is fuzzed: readers of files from elsewhere. Each target takes the fuzzer's bytes; only `InputError` may come of them."""

import hashlib
import io
import json
import pickle
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save

from tests.fuzz.mutate import ODD, Choices, mutated
from tests.fuzz.tables import COUNTS, READERS, table_target
from tests.fuzz.tables import LIST as ROWS
from tests.support.tiny_index import make_predictions
from tests.support.tiny_refer import TinyRefer
from tests.support.tiny_referit import FOLDER
from tests.support.tiny_referit import Tiny as TinyReferit
from tests.support.tiny_released import BUILDERS, folder_config, released, small
from tris_core.annotations.index import build_index
from tris_core.data import rle
from tris_core.evaluation.mask_files import read_masks, write_coco
from tris_core.runtime.errors import InputError
from tris_core.runtime.files import write_sealed_json
from tris_core.runtime.params import read_params
from tris_core.runtime.pickles import load_plain_pickle
from tris_core.weights.archives import read_checkpoint
from tris_core.weights.released import open_weights

Target = Callable[[bytes, Choices], None]
IN_JSON = tuple(
    value for value in ODD if not isinstance(value, bytes | set | tuple) and value != {1: 2}
)
LIST = (
    b'image,sentence,mask,height,width,box\na.png,a cup,,,,\na.png,"b, c",%b,40,60,1 1 4 5\n'
    % COUNTS
)
PRESET = Path(__file__).parents[2] / "presets" / "shapes.yaml"


def targets(place: Path) -> dict[str, tuple[Target, list[bytes]]]:
    """Every target by its name, with the inputs to start from. Files lie in the folder `place`."""
    return {
        "pickle": (lambda data, _: load_plain_pickle(_file(place / "a.p", data)), _pickles()),
        "refer": (_refer(place / "refer"), []),
        "referit": (_referit(place / "referit"), []),
        "list": (_list(place / "list"), [LIST]),
        "rle": (_rle, [bytes(8) + rle.encode(np.eye(5, 8, dtype=bool))]),
        "masks": (_masks(place), []),
        "params": (lambda data, _: _ignore(read_params(_file(place / "p.yaml", data))), [PRESET.read_bytes()]),
        "checkpoint": (_zipped(place / "c.pt", "archive/"), [_saved()]),
        "script": (_zipped(place / "s.pt", "script/code/constants.pkl"), [_saved()]),
        "legacy": (lambda data, _: _ignore(read_checkpoint(_file(place / "l.pt", data))), [_legacy()]),
        "safetensors": (
            lambda data, _: _ignore(read_checkpoint(_file(place / "w.safetensors", data))),
            [save({"a": torch.zeros(2, 3), "b": torch.ones(1, dtype=torch.float16)})],
        ),
        "model": (_model(place / "model"), []),
        "released": (_released(place / "r.pth"), []),
        "list_table": (_list_table(place / "list_table"), []),
        **{name: (table_target(place / f"{name}.parquet", *what), []) for name, what in READERS.items()},
    }  # fmt: skip


def _file(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def _ignore(value: object) -> None:
    """A target has no result."""


def _pickles() -> list[bytes]:
    tiny = TinyRefer()
    return [pickle.dumps(tiny.refs, protocol=protocol) for protocol in (0, 2, 4)]


def _refer(root: Path) -> Target:
    TinyRefer().write(root)
    folder = root / "refer" / "refcocog"

    def target(data: bytes, choices: Choices) -> None:
        tiny = TinyRefer()
        instances = {
            "images": tiny.images,
            "annotations": tiny.annotations,
            "categories": [{"id": 3, "name": "square"}],
        }
        refs: Any = tiny.refs
        if choices.ConsumeIntInRange(0, 1):
            instances = mutated(instances, choices, odd=IN_JSON)
        else:
            refs = mutated(refs, choices)
        (folder / "instances.json").write_text(json.dumps(instances))
        (folder / "refs(umd).p").write_bytes(pickle.dumps(refs, protocol=2))
        build_index(root, "refcocog", "umd", "refer/refcocog", mask_overlap="drop")

    return target


def _referit(root: Path) -> Target:
    TinyReferit().write(root)

    def target(data: bytes, choices: Choices) -> None:
        (root / FOLDER / "train.pickle").write_bytes(
            pickle.dumps(mutated(TinyReferit().train, choices), protocol=2)
        )
        build_index(root, "referit", "none", FOLDER)

    return target


def _list(root: Path) -> Target:
    root.mkdir()
    picture = TinyRefer().write(root / "other") / "train2014" / "b.jpg"
    picture.rename(root / "a.png")
    return lambda data, _: _ignore(
        build_index(_file(root / "l.csv", data).parent, "list", "none", "l.csv")
    )


def _list_table(root: Path) -> Target:
    _list(root)  # for its picture
    return table_target(
        root / "l.parquet", ROWS, lambda path: build_index(root, "list", "none", path.name)
    )


def _rle(data: bytes, choices: Choices) -> None:
    height, width = choices.ConsumeIntInRange(1, 40), choices.ConsumeIntInRange(1, 40)
    parts = [
        [0, 0, 5, 0, 5, 5],
        [1, 1, 3, 7, 9, 9],
        {"size": [height, width], "counts": data[8:].decode("latin1")},
    ]
    try:
        rle.from_segmentation(
            mutated(parts[choices.ConsumeIntInRange(0, 2) :], choices), height, width, "drop"
        )
        rle.decode(data[8:], height, width)
    except ValueError:
        return  # its callers know the file and row, and say so


def _masks(place: Path) -> Target:
    write_coco(make_predictions(0), place / "valid.json")
    records = json.loads((place / "valid.json").read_text())[:2]

    def target(data: bytes, choices: Choices) -> None:
        (place / "m.json").write_text(json.dumps(mutated(records, choices, odd=IN_JSON)))
        read_masks(place / "m.json")

    return target


def _saved() -> bytes:
    """The pickle inside what `torch.save` writes; its storages are those of `_zipped`."""
    buffer = io.BytesIO()
    torch.save(
        {"a": torch.zeros(4), "b": {"c": torch.zeros(2, 2), "d": [1, None, 0.5, "x"]}}, buffer
    )
    with zipfile.ZipFile(buffer) as archive:
        return archive.read("archive/data.pkl")


def _zipped(path: Path, marker: str) -> Target:
    """An archive of torch's with any pickle in it, TorchScript's if `marker` is its file of constants."""
    folder = marker.split("/")[0]

    def target(data: bytes, _: Choices) -> None:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(f"{folder}/data.pkl", data)
            archive.writestr(f"{folder}/version", "3\n")
            for number in range(2):
                archive.writestr(f"{folder}/data/{number}", bytes(16))
            if not marker.endswith("/"):
                archive.writestr(marker, b"\x80\x02).")
        read_checkpoint(path)

    return target


def _legacy() -> bytes:
    buffer = io.BytesIO()
    torch.save({"a": torch.zeros(4)}, buffer, _use_new_zipfile_serialization=False)
    return buffer.getvalue()


def _model(folder: Path) -> Target:
    folder.mkdir()
    weights = save({k: v.contiguous() for k, v in small(1).items()})
    config = folder_config(weights_sha256=hashlib.sha256(weights).hexdigest())
    (folder / "model.safetensors").write_bytes(weights)

    def target(data: bytes, choices: Choices) -> None:
        changed = mutated(config, choices, odd=IN_JSON)
        write_sealed_json(
            folder / "config.json", changed if isinstance(changed, dict) else {"": changed}
        )
        open_weights(folder, BUILDERS)

    return target


def _released(path: Path) -> Target:
    released(small(1), path)
    content = torch.load(path, weights_only=True)
    tensors = (
        torch.zeros(0),
        torch.zeros(()),
        torch.full((3,), float("nan")),
        torch.zeros(1).expand(10**5, 10**6),
    )
    odd = tuple(value for value in ODD if type(value) is not set)

    def target(data: bytes, choices: Choices) -> None:
        torch.save(mutated(content, choices, odd=(*odd, *tensors, torch.eye(2).to_sparse())), path)
        open_weights(path, BUILDERS)

    return target


def only_input_errors(target: Target, data: bytes, choices: Choices) -> None:
    with suppress(InputError):
        target(data, choices)
