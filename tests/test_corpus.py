"""Broken files: truncated downloads, files of the wrong kind, values that no program can use.

Every error message must name the file, and the row, value and fix where it can. The checks of
single rows are tested with their readers.
"""

import hashlib
import re
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import save

from tests.support.tiny_refer import TinyRefer
from tests.support.tiny_released import BUILDERS, CLIP, STEP1, folder_config, released, small
from tris_core.annotations.index import build_index
from tris_core.data.images import read_image
from tris_core.evaluation.mask_files import read_masks
from tris_core.runtime.errors import InputError
from tris_core.runtime.files import write_sealed_json
from tris_core.runtime.params import read_params
from tris_core.weights.archives import read_checkpoint
from tris_core.weights.released import open_weights

Case = tuple[Callable[[Path], object], str]
WHOLE = folder_config()
PRESET = (Path(__file__).parents[1] / "presets" / "shapes.yaml").read_text()


def refer(
    change: Callable[[TinyRefer], object] = id, instances: bytes | None = None
) -> Callable[[Path], object]:
    """A data set in refer's layout with changed rows or another instances.json."""

    def read(folder: Path) -> object:
        tiny = TinyRefer()
        change(tiny)
        tiny.write(folder)
        if instances is not None:
            (folder / "refer/refcocog/instances.json").write_bytes(instances)
        return build_index(folder, "refcocog", "umd", "refer/refcocog")

    return read


def cut(name: str, keep: float) -> Callable[[Path], object]:
    """A data set with one truncated file."""

    def read(folder: Path) -> object:
        path = TinyRefer().write(folder) / name
        path.write_bytes(path.read_bytes()[: int(keep * path.stat().st_size)])
        build_index(folder, "refcocog", "umd", "refer/refcocog")
        return read_image(path)

    return read


def holding(name: str, content: bytes, read: Callable[[Path], object]) -> Callable[[Path], object]:
    """A file with this content."""

    def make(folder: Path) -> object:
        (folder / name).write_bytes(content)
        return read(folder / name)

    return make


def photo(name: str, keep: float) -> Callable[[Path], object]:
    """A truncated image file."""

    def make(folder: Path) -> object:
        path = folder / name
        Image.effect_noise((80, 60), 90).save(path)
        path.write_bytes(path.read_bytes()[: int(keep * path.stat().st_size)])
        return read_image(path)

    return make


def params(old: str, new: str) -> Callable[[Path], object]:
    """The preset's params.yaml with one text replaced."""
    assert old in PRESET
    return holding("params.yaml", PRESET.replace(old, new, 1).encode(), read_params)


def saved(content: Any) -> Callable[[Path], object]:
    """A checkpoint of `torch.save` with this content."""

    def make(folder: Path) -> object:
        torch.save(content, folder / "w.pt")
        return read_checkpoint(folder / "w.pt")

    return make


def zipped(method: int, size: int) -> Callable[[Path], object]:
    """A PyTorch archive with a storage of `size` zero bytes."""

    def make(folder: Path) -> object:
        with zipfile.ZipFile(folder / "w.pt", "w", method) as archive:
            archive.writestr("archive/data.pkl", b"\x80\x02}.")
            archive.writestr("archive/data/0", bytes(size))
        return read_checkpoint(folder / "w.pt")

    return make


def model(
    config: bytes | dict[str, Any] = WHOLE, weights: bytes | None = None
) -> Callable[[Path], object]:
    """A model folder with this config.json and model.safetensors."""

    def make(folder: Path) -> object:
        content = save(small(1)) if weights is None else weights
        (folder / "model.safetensors").write_bytes(content)
        if isinstance(config, bytes):
            (folder / "config.json").write_bytes(config)
        else:
            digest = hashlib.sha256(content).hexdigest()
            write_sealed_json(folder / "config.json", {**config, "weights_sha256": digest})
        return open_weights(folder, BUILDERS)

    return make


def checkpoint(**changes: Any) -> Callable[[Path], object]:
    """A released checkpoint with some weights changed."""

    def make(folder: Path) -> object:
        return open_weights(released({**small(1), **changes}, folder / "r.pth"), BUILDERS)

    return make


def configured(
    *, text: dict[str, Any] | None = None, vision: dict[str, Any] | None = None, **network: Any
) -> dict[str, Any]:
    """A model folder's config.json with some values changed."""
    clip = {
        **CLIP,
        "text_cfg": {**CLIP["text_cfg"], **(text or {})},
        "vision_cfg": {**CLIP["vision_cfg"], **(vision or {})},
    }
    return folder_config(clip={"config": clip, "vocabulary": None}, model={**STEP1, **network})


def header(text: bytes, length: int | None = None) -> bytes:
    """The beginning of a safetensors file that claims a header of `length` bytes."""
    return struct.pack("<Q", len(text) if length is None else length) + text


LAUGHS = "\n".join(
    f"b{n}: &b{n} [{', '.join([f'*b{n - 1}' if n else 'ha'] * 9)}]" for n in range(10)
)
BEYOND_THE_FILE = header(
    b'{"a":{"dtype":"F32","shape":[1000000,1000000],"data_offsets":[0,4000000000000]}}'
)
NAN_BIAS = {"lan_project.bias": torch.full((12,), float("nan"))}
FLAT_EMBEDDING = {"backbone.token_embedding.weight": torch.zeros(4)}
DEEP = b"[" * 10**5
PAGE = b"<!DOCTYPE html>"

ANNOTATIONS: dict[str, Case] = {
    "truncated annotations": (
        cut("refer/refcocog/instances.json", 0.5),
        "instances.json: not JSON",
    ),
    "truncated refs": (
        cut("refer/refcocog/refs(umd).p", 0.5),
        "refs(umd).p: not a readable pickle",
    ),
    "annotations nested too deeply": (
        refer(instances=DEEP),
        "instances.json: not JSON (maximum recursion",
    ),
    "a web page instead of annotations": (
        refer(instances=PAGE),
        "instances.json: not JSON (Expecting value",
    ),
    "an id beyond 64 bits": (
        refer(lambda t: t.refs[0].update(ref_id=2**63)),
        "refs(umd).p: refs row 0 (id 9223372036854775808): "
        "ref_id is 9223372036854775808, expected int of 64 bits",
    ),
    "half a surrogate pair": (
        refer(lambda t: t.images[0].update(file_name="b\ud83d.jpg")),
        "instances.json: images row 0 (id 70): "
        "file_name is 'b\\ud83d.jpg', expected str in Unicode",
    ),
    "a file name with a zero byte": (
        refer(lambda t: t.images[0].update(file_name="b.jpg\0.png")),
        "image 70: file name 'b.jpg\\x00.png' leaves the image",
    ),
    "a file name that is too long": (
        refer(lambda t: t.images[0].update(file_name="b" * 300)),
        "image 70: image ",
    ),
    "a negative height": (
        refer(lambda t: t.images[0].update(height=-40)),
        "image 70: annotated at 60 x -40 (width x height)",
    ),
    "a width of zero": (
        refer(lambda t: t.images[0].update(width=0)),
        "image 70: annotated at 0 x 40 (width x height)",
    ),
    "a polygon far outside the image": (
        refer(lambda t: t.annotations[0].update(segmentation=[[0, 0, 1e9, 0, 5, 5]])),
        "annotation 1: a polygon is not a flat",
    ),
}
IMAGES: dict[str, Case] = {
    "a truncated image": (
        cut("train2014/b.jpg", 0.6),
        "b.jpg: cannot be read as an image (image file is truncated",
    ),
    "an image without pixels": (cut("train2014/b.jpg", 0.02), "b.jpg cannot be read"),
    "an empty image": (cut("train2014/b.jpg", 0), "b.jpg cannot be read"),
    "a truncated photo": (photo("a.png", 0.5), "a.png: cannot be read as an image ("),
    "a photo that is only a header": (
        photo("a.png", 0.004),
        "a.png: cannot be read as an image",
    ),
    "a text instead of a photo": (
        holding("a.jpg", b"hello", read_image),
        "a.jpg: cannot be read as an image",
    ),
    "masks nested too deeply": (holding("m.json", DEEP, read_masks), "m.json: not JSON"),
    "masks that are not Parquet": (
        holding("m.parquet", b"PAR1PAR1", read_masks),
        "m.parquet: not a Parquet file",
    ),
}
PARAMETERS: dict[str, Case] = {
    "parameters with tabs": (params("index: {", "index:\n\t{"), "params.yaml: not YAML"),
    "a section twice": (params("refine:", "index:"), "params.yaml: not YAML"),
    "a section that is a number": (
        params("make_shapes: {", "make_shapes: 5\nx: {"),
        "params.yaml: make_shapes = 5: Input should be a valid dictionary",
    ),
    "parameters that create an object": (
        params("name: shapes", "name: !!python/object/apply:os.getcwd []"),
        "yaml: not YAML",
    ),
    "parameters that are binary": (
        holding("params.yaml", b"\xff\xfe\x00\xd8", read_params),
        "params.yaml: not YAML",
    ),
    "parameters nested too deeply": (
        holding("params.yaml", b"[" * 10**4, read_params),
        "params.yaml: not YAML",
    ),
    "parameters that multiply": (
        params("refine:", f"{LAUGHS}\nrefine: *b9\nx:"),
        "params.yaml: refine = [[[[",
    ),
}
WEIGHTS: dict[str, Case] = {
    "truncated weights": (holding("w.pt", b"PK\x03\x04" + bytes(40), read_checkpoint), "w.pt: "),
    "a web page instead of weights": (
        holding("w.pt", PAGE, read_checkpoint),
        "w.pt: is an HTML page",
    ),
    "weights that unpack to more": (
        zipped(zipfile.ZIP_DEFLATED, 10**7),
        "that unpack to 10000004; save it again uncompressed",
    ),
    "a tensor that repeats one number": (
        saved({"a": torch.zeros(1).expand(10**6, 10**6)}),
        "w.pt: a of shape [1000000, 1000000] repeats its numbers",
    ),
    "a sparse tensor": (
        saved({"model": {"a": torch.eye(2).to_sparse()}}),
        "w.pt: model.a is no plain tensor",
    ),
    "weights without names": (
        saved({1: torch.zeros(1)}),
        "w.pt: holds a dict, expected a dict of tensors by name",
    ),
    "truncated safetensors": (
        model(weights=save(small(1))[:-4]),
        "model.safetensors: not a readable file of weights",
    ),
    "safetensors with a header of 2^60 bytes": (
        model(weights=header(b"{}", 1 << 60)),
        "model.safetensors: not a readable",
    ),
    "safetensors that reach beyond their file": (
        model(weights=BEYOND_THE_FILE),
        "model.safetensors: not a readable file of weights",
    ),
}
MODELS: dict[str, Case] = {
    "a truncated config": (model(config=b'{"clip": {'), "config.json: has no seal"),
    "a config that is a list": (model(config=b"[]"), "config.json: has no seal"),
    "a config without a network": (
        model(config={"clip": {"config": {}}}),
        "`model` is of no network of TRIS",
    ),
    "a config of another width": (model(config=configured(hidden=13)), "of another shape"),
    "a config of 10^9 layers": (
        model(config=configured(text={"layers": 10**9})),
        "text_cfg.layers = 1000000000",
    ),
    "a config that downloads its text tower": (
        model(config=configured(text={"hf_model_name": "someone/model"})),
        "the text tower is not CLIP's own (hf_model_name)",
    ),
    "a config that downloads its image tower": (
        model(config=configured(vision={"timm_model_name": "hf-hub:someone/model"})),
        "is no model of timm's own",
    ),
    "a checkpoint with a number": (
        checkpoint(**{"vis_project.weight": 3}),
        "`model` holds vis_project.weight, which",
    ),
    "a checkpoint with a tensor of too few dimensions": (
        checkpoint(**FLAT_EMBEDDING),
        "r.pth: no network has such",
    ),
    "a checkpoint with a NaN": (
        checkpoint(**NAN_BIAS),
        "lan_project.bias holds values that are not",
    ),
    "a checkpoint with two temperatures": (
        checkpoint(logit_scale=torch.zeros(2)),
        "of another shape: logit_scale",
    ),
}
CORPUS = ANNOTATIONS | IMAGES | PARAMETERS | WEIGHTS | MODELS


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("case", CORPUS)
def test_the_error_of_a_broken_file_names_file_and_cause(case: str, tmp_path: Path) -> None:
    read, message = CORPUS[case]
    with pytest.raises(InputError, match=re.escape(message)) as error:
        read(tmp_path)
    assert str(tmp_path) in str(error.value)
    assert len(str(error.value)) < 5000
