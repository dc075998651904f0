"""Foreign model folders: used, or refused before a network of their description is built."""

import hashlib
import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save
from torch import Tensor

from tests.support.tiny_models import write_tiny_models
from tris_core.irn.network import build_irn
from tris_core.predict import Predictor
from tris_core.runtime.errors import InputError
from tris_core.runtime.files import read_sealed_json, write_json, write_sealed_json
from tris_core.weights.configs import IrnConfig
from tris_core.weights.model_folder import load_model, save_marker, save_model

Change = Callable[[Path], None]
HUGE = 10**9


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    torch.manual_seed(0)
    return write_tiny_models(tmp_path_factory.mktemp("tiny"))


def put(folder: Path, config: dict[str, Any], weights: bytes) -> None:
    """Write a folder with correct hashes, as an attacker would."""
    (folder / "model.safetensors").write_bytes(weights)
    write_sealed_json(
        folder / "config.json", {**config, "weights_sha256": hashlib.sha256(weights).hexdigest()}
    )


def config(key: str, value: Any) -> Change:
    """A change of one value of config.json, by its dotted key; `...` removes it."""

    def change(folder: Path) -> None:
        content = read_sealed_json(folder / "config.json")
        *path, last = key.split(".")
        part = content
        for name in path:
            part = part[name]
        if value is ...:
            del part[last]
        else:
            part[last] = value
        put(folder, content, (folder / "model.safetensors").read_bytes())

    return change


def weights(alter: Callable[[dict[str, Tensor]], dict[str, Tensor]]) -> Change:
    def change(folder: Path) -> None:
        state = alter(load_file(folder / "model.safetensors"))
        put(folder, read_sealed_json(folder / "config.json"), save(state))

    return change


def kept_as(dtype: torch.dtype) -> Change:
    return weights(
        lambda state: {k: v.to(dtype) if v.is_floating_point() else v for k, v in state.items()}
    )


def with_tensor(name: str, value: float) -> Change:
    return weights(lambda state: {**state, name: torch.full_like(state[name], value)})


def repeated_name(folder: Path) -> None:
    data = (folder / "model.safetensors").read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = data[8 : 8 + length].rstrip()
    name, entry = next((k, v) for k, v in json.loads(header).items() if k == "lan_project.bias")
    header = header[:-1] + f',"{name}":{json.dumps(entry)}}}'.encode()
    header += b" " * (-len(header) % 8)
    put(
        folder,
        read_sealed_json(folder / "config.json"),
        len(header).to_bytes(8, "little") + header + data[8 + length :],
    )


def a_word_too_few(folder: Path) -> None:
    content = read_sealed_json(folder / "config.json")
    config("clip.vocabulary", content["clip"]["vocabulary"][:1])(folder)


VISION, TEXT = "clip.config.vision_cfg", "clip.config.text_cfg"
REFUSED: dict[str, tuple[Change, str]] = {
    "size below zero": (config("size", -96), "size = -96"),
    "size 0": (config("size", 0), "size = 0"),
    "size 7": (config("size", 7), "size = 7"),
    "size 20,000": (config("size", 20_000), "size = 20000"),
    "size 100,000": (config("size", 100_000), "size = 100000"),
    "size as text": (config("size", "96"), "size = '96'"),
    "half a pixel": (config("size", 96.5), "size = 96.5"),
    "size null": (config("size", None), "size = None"),
    "no size": (config("size", ...), "size: Field required"),
    "tokens below zero": (config("text.max_tokens", -1), "text.max_tokens = -1"),
    "no tokens": (config("text.max_tokens", 0), "text.max_tokens = 0"),
    "tokens beyond the context": (
        config("text.max_tokens", 100),
        "text.max_tokens is 100, but its CLIP reads 12 at most",
    ),
    "tokens as text": (config("text.max_tokens", "x"), "text.max_tokens = 'x'"),
    "a billion tokens": (config("text.max_tokens", HUGE), "text.max_tokens is 1000000000"),
    "overflow of another kind": (config("text.overflow", {"a": 1}), "text.overflow"),
    "vocabulary null": (config("clip.vocabulary", None), "but the vocabulary needs 49408"),
    "vocabulary a number": (config("clip.vocabulary", 5), "clip.vocabulary"),
    "vocabulary of maps": (config("clip.vocabulary", [{}]), "clip.vocabulary"),
    "vocabulary as text": (config("clip.vocabulary", "abc"), "clip.vocabulary"),
    "vocabulary of 40,000": (
        config("clip.vocabulary", list(range(40_000))),
        "but the vocabulary needs 40004",
    ),
    "vocabulary of one": (a_word_too_few, "but the vocabulary needs 5"),
    "a tower of no kind": (config(VISION, []), "clip.config.vision_cfg"),
    "seven heads": (config(f"{TEXT}.heads", 7), "cannot be shared by 7 heads"),
    "a context of a billion": (
        config(f"{TEXT}.context_length", HUGE),
        "context_length = 1000000000",
    ),
    "endless layers": (config(f"{TEXT}.layers", HUGE), "text_cfg.layers = 1000000000"),
    "endless stages": (config(f"{VISION}.layers", [1, 1, 1, HUGE]), "are more than 100"),
    "a wide tower": (config(f"{VISION}.width", 4096), "of another shape: backbone.visual"),
    "a giant of timm": (
        config(f"{VISION}.timm_model_name", "vit_giant_patch14_clip_224"),
        "missing: backbone.visual",
    ),
    "a model to download": (
        config(f"{VISION}.timm_model_name", "hf-hub:x/y"),
        "no model of timm's own",
    ),
    "a ViT without heads": (config(f"{VISION}.layers", 1), "no network has such a configuration"),
    "temperature 0": (config("model.temperature", 0), "model.temperature = 0"),
    "temperature NaN": (config("model.temperature", math.nan), "model.temperature = nan"),
    "alpha NaN": (config("model.alpha", math.nan), "model.alpha = nan"),
    "alpha as text": (config("model.alpha", "x"), "model.alpha = 'x'"),
    "another width": (config("model.hidden", 9), "of another shape"),
    "an unknown key": (config("model.code", "x"), "model.code"),
    "no network": (config("model", 3), "`model` is of no network"),
    "a NaN": (
        with_tensor("lan_project.bias", math.nan),
        "lan_project.bias holds values that are not finite",
    ),
    "infinite temperature": (
        with_tensor("logit_scale", math.inf),
        "logit_scale holds values that are not finite",
    ),
    "weights of whole numbers": (
        weights(lambda s: {k: (10 * v).long() for k, v in s.items()}),
        "of another type",
    ),
    "weights of yes and no": (
        weights(lambda s: {k: v.bool() for k, v in s.items()}),
        "of another type",
    ),
    "complex weights": (
        kept_as(torch.complex64),
        "of another type",
    ),
    "a name twice": (repeated_name, "its header holds lan_project.bias twice"),
    "weights of another run": (
        lambda f: (f / "model.safetensors").write_bytes(save({})),
        "damaged or of another model",
    ),
    "no weights": (lambda f: (f / "model.safetensors").unlink(), "model.safetensors: not found"),
    "a config that was edited": (
        lambda f: write_json(f / "config.json", read_sealed_json(f / "config.json")),
        "has no seal; it is damaged, edited or from an older version: copy the folder again",
    ),
    "a marker": (lambda f: save_marker(f, "x is y"), "holds no model (x is y)"),
}  # fmt: skip
USED: dict[str, Change] = {
    "float64": kept_as(torch.float64),
    "float16": kept_as(torch.float16),
    "bfloat16": kept_as(torch.bfloat16),
    "float8": kept_as(torch.float8_e4m3fn),
    "no name": config("clip.name", ...),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_wrong_folder_is_refused_by_key(
    case: str, tiny: tuple[Path, Path], tmp_path: Path
) -> None:
    change, words = REFUSED[case]
    folder = Path(shutil.copytree(tiny[0], tmp_path / "step1"))
    change(folder)
    with pytest.raises(InputError) as error:
        Predictor.load(folder, tiny[1], device="cpu")
    assert words in str(error.value)
    assert str(folder) in str(error.value)
    assert len(str(error.value)) < 1000


@pytest.mark.parametrize("case", USED)
def test_other_precisions_and_a_missing_name_are_used(
    case: str, tiny: tuple[Path, Path], tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(tiny[0], tmp_path / "step1"))
    USED[case](folder)
    Predictor.load(folder, tiny[1], device="cpu")


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_one_flipped_bit_is_found_and_named(tiny: tuple[Path, Path], data: st.DataObject) -> None:
    file = data.draw(st.sampled_from(["config.json", "model.safetensors"]))
    whole = (tiny[1] / file).read_bytes()
    bit = data.draw(st.integers(0, 8 * len(whole) - 1))
    flipped = bytearray(whole)
    flipped[bit // 8] ^= 1 << bit % 8
    try:
        (tiny[1] / file).write_bytes(flipped)
        with pytest.raises(InputError) as error:
            Predictor.load(*tiny, device="cpu")
        assert str(tiny[1] / file) in str(error.value)
    finally:
        (tiny[1] / file).write_bytes(whole)


def test_the_boundary_network_is_read_the_same_way(tiny: tuple[Path, Path], tmp_path: Path) -> None:
    clip = read_sealed_json(tiny[0] / "config.json")["clip"]
    content = {"clip": clip, "model": {"channels": [4, 32, 64, 128, 256]}}
    described = IrnConfig.model_validate(content)
    network = build_irn(described)
    save_model(tmp_path / "irn", network.state_dict(), described)
    loaded, _ = load_model(tmp_path / "irn", IrnConfig, build_irn)
    assert all(
        torch.equal(value, loaded.state_dict()[key]) for key, value in network.state_dict().items()
    )
    with pytest.raises(InputError, match="step1: holds Step-1, not the boundary network"):
        load_model(tiny[0], IrnConfig, build_irn)
