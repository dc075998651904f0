"""Bombs in model folders, CLIP folders, weight files and sentences."""

import hashlib
import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from tests.attack.bombs import Make, Read, bomb
from tris_core.clip.names import DEMO as CLIP
from tris_core.clip.sources import describe_clip
from tris_core.clip.tokenizer import Tokenizer
from tris_core.predict.predictor import DEMO, Predictor
from tris_core.runtime.files import read_sealed_json, write_sealed_json
from tris_core.weights.archives import read_checkpoint

HUGE = 10**9


def put(key: str, value: Any) -> Callable[[dict[str, Any]], None]:
    """A change of a nested config: `key` is the dotted path of the value."""

    def change(config: dict[str, Any]) -> None:
        *path, last = key.split(".")
        for name in path:
            config = config[name]
        config[last] = value

    return change


def model(change: Callable[[dict[str, Any]], None]) -> Make:
    """The demo Step-1 with a changed configuration and a valid seal."""

    def make(folder: Path) -> Read:
        shutil.copytree(DEMO[0], folder / "step1")
        config = read_sealed_json(folder / "step1/config.json")
        change(config)
        write_sealed_json(folder / "step1/config.json", config)
        return lambda: Predictor.load(folder / "step1", DEMO[1], device="cpu")

    return make


def clip(change: Callable[[dict[str, Any]], None]) -> Make:
    """The demo CLIP with a changed configuration."""

    def make(folder: Path) -> Read:
        shutil.copytree(CLIP, folder / "clip")
        config = json.loads((CLIP / "config.json").read_text())
        change(config)
        (folder / "clip/config.json").write_text(json.dumps(config))
        return lambda: describe_clip(str(folder / "clip"), None)

    return make


CHANGES: dict[str, tuple[str, Any]] = {
    "an image tower of width 4096": ("vision_cfg.width", 4096),
    "an image tower of width 65536": ("vision_cfg.width", 1 << 16),
    "stages of 10^9 layers": ("vision_cfg.layers", [HUGE] * 4),
    "stages of 25 layers": ("vision_cfg.layers", [25] * 4),
    "timm's giant": ("vision_cfg.timm_model_name", "vit_giant_patch14_clip_224"),
    "a ViT of 65536 tokens": (
        "vision_cfg",
        {"layers": 2, "width": 64, "head_width": 64, "patch_size": 8, "image_size": 2048},
    ),
    "a ViT of 10^6 tokens": (
        "vision_cfg",
        {"layers": 2, "width": 64, "patch_size": 2, "image_size": 2048},
    ),
    "a text tower of width 65536": ("text_cfg.width", 1 << 16),
    "a context of 10^9": ("text_cfg.context_length", HUGE),
    "a vocabulary of 10^9": ("text_cfg.vocab_size", HUGE),
    "an embedding of 10^9": ("embed_dim", HUGE),
}
for what, (key, value) in CHANGES.items():
    bomb(f"model folder: {what}")(model(put(f"clip.config.{key}", value)))
    bomb(f"CLIP folder: {what}")(clip(put(key, value)))
for what, (key, value) in {
    "size 100,000": ("size", 100_000),
    "size 20,000": ("size", 20_000),
    "max_tokens 10^9": ("text.max_tokens", HUGE),
    "10^9 hidden channels": ("model.hidden", HUGE),
    "65536 hidden channels": ("model.hidden", 1 << 16),
    "a vocabulary of 10^6 ids": ("clip.vocabulary", list(range(10**6))),
}.items():
    bomb(f"model folder: {what}")(model(put(key, value)))
bomb("model folder: unchanged", harmless=True)(model(lambda config: None))
bomb("CLIP folder: unchanged", harmless=True)(clip(lambda config: None))


def header(lists: int) -> Make:
    def make(folder: Path) -> Read:
        data = b"[" + b"[]," * lists + b"[]]"
        (folder / "w.safetensors").write_bytes(len(data).to_bytes(8, "little") + data)
        return lambda: read_checkpoint(folder / "w.safetensors")

    return make


bomb("safetensors: a header of 3,000,000 lists")(header(3_000_000))
bomb("safetensors: a header of 300,000 lists")(header(300_000))


def tensors(folder: Path, count: int) -> Read:
    shutil.copytree(DEMO[0], folder / "step1")
    save_file({f"t{n}": torch.zeros(1) for n in range(count)}, folder / "step1/model.safetensors")
    digest = hashlib.sha256((folder / "step1/model.safetensors").read_bytes()).hexdigest()
    config = {**read_sealed_json(DEMO[0] / "config.json"), "weights_sha256": digest}
    write_sealed_json(folder / "step1/config.json", config)
    return lambda: Predictor.load(folder / "step1", DEMO[1], device="cpu")


bomb("model folder: 100,000 tensors")(partial(tensors, count=100_000))
bomb("model folder: 10,000 tensors")(partial(tensors, count=10_000))


@bomb("one word of 100,000 letters", harmless=True)
def word(folder: Path) -> Read:
    return lambda: Tokenizer().words("abcdehilnostw" * 7_700)
