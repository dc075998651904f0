"""CLIP as the method uses it: stage features of the image tower, word and sentence features of the text tower.

The only module that imports open_clip (which costs seconds and nearly a gigabyte). A CLIP on disk is a folder:

    config.json         what `open_clip.CLIP` takes: embed_dim, vision_cfg, text_cfg, quick_gelu; and `mean`, `std`
    model.safetensors   its weights, any float type
    vocabulary.json     optional: the BPE ids that were kept when the token embedding was pruned

Shapes: B images or sentences, T tokens, C channels, H W the map of a stage, E the joint embedding.
"""

import json
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from open_clip.model import CLIP, CLIPTextCfg, CLIPVisionCfg
from open_clip.tokenizer import SimpleTokenizer
from safetensors.torch import load_file
from torch import Tensor, nn

from tris_core.errors import InputError
from tris_core.files import sha256_of

PAD, UNKNOWN = 0, 1
DEMO = Path(__file__).parents[1] / "assets" / "demo_clip"


class Tokenizer:
    """Sentences to token ids, (B, T) int64: start, words, end, zeros.

    With `vocabulary` (BPE ids that kept an embedding row) ids are renumbered: 0 pad, 1 unknown, then the vocabulary, then
    start and end. Either way the end token has the highest id, which is how CLIP finds it.
    """

    def __init__(self, vocabulary: Sequence[int] | None = None) -> None:
        self._bpe = _bpe()
        self._rows = None if vocabulary is None else {bpe_id: row for row, bpe_id in enumerate(vocabulary, start=2)}
        size = self._bpe.vocab_size if vocabulary is None else len(vocabulary) + 4
        self.start, self.end = size - 2, size - 1
        self.size = size

    def words(self, text: str) -> list[int]:
        """Ids of a sentence without start and end; unknown words are `UNKNOWN` where the vocabulary is pruned."""
        ids: list[int] = self._bpe.encode(text)
        return ids if self._rows is None else [self._rows.get(i, UNKNOWN) for i in ids]

    def __call__(self, texts: Sequence[str], length: int, *, overflow: str = "keep_eot") -> Tensor:
        """Token ids (B, length). What is too long is cut: `keep_eot` keeps the end token, `cut` loses it, as released."""
        tokens = torch.zeros(len(texts), length, dtype=torch.int64)
        for row, text in zip(tokens, texts, strict=True):
            ids = [self.start, *self.words(text), self.end]
            if len(ids) > length:
                ids = ids[:length] if overflow == "cut" else [*ids[: length - 1], self.end]
            row[: len(ids)] = torch.tensor(ids)
        return tokens

    def unknown_share(self, texts: Sequence[str]) -> float:
        """Share of tokens, in [0, 1], that the pruned vocabulary does not hold; 0 for a whole vocabulary."""
        ids = [i for text in texts for i in self.words(text)]
        return 0.0 if self._rows is None or not ids else sum(i == UNKNOWN for i in ids) / len(ids)


@lru_cache(maxsize=1)
def _bpe() -> SimpleTokenizer:
    return SimpleTokenizer()


def build_clip(config: dict[str, Any]) -> CLIP:
    """A CLIP with random weights from the model part of a `config.json`."""
    return CLIP(
        embed_dim=config["embed_dim"],
        vision_cfg=CLIPVisionCfg(**config["vision_cfg"]),
        text_cfg=CLIPTextCfg(**config["text_cfg"]),
        quick_gelu=config["quick_gelu"],
    )


def clip_folder(name: str) -> Path:
    """The folder a parameter names: `demo` is the one the package carries."""
    return DEMO if name == "demo" else Path(name)


def describe_clip(name: str) -> dict[str, Any]:
    """What identifies a CLIP: its name, configuration, vocabulary (None if whole) and the SHA-256 of its weights.

    Raises `InputError` that names the file which is missing.
    """
    folder = clip_folder(name)
    for file in ("config.json", "model.safetensors"):
        if not (folder / file).is_file():
            raise InputError(f"{folder / file}: not found; a CLIP folder holds config.json and model.safetensors")
    vocabulary = folder / "vocabulary.json"
    return {
        "name": name,
        "sha256": sha256_of([folder / "model.safetensors"]),
        "config": json.loads((folder / "config.json").read_text()),
        "vocabulary": json.loads(vocabulary.read_text()) if vocabulary.is_file() else None,
    }


def load_clip(description: dict[str, Any]) -> CLIP:
    """The CLIP that `describe_clip` described, in float32. Raises `InputError` if its file is another one now."""
    path = clip_folder(description["name"]) / "model.safetensors"
    if not path.is_file() or sha256_of([path]) != description["sha256"]:
        raise InputError(f"{path}: missing or not the file that prepare_clip saw; run `dvc repro -f prepare_clip`")
    clip = build_clip(description["config"])
    weights = {key: value.float() if value.is_floating_point() else value for key, value in load_file(path).items()}
    missing, unexpected = clip.load_state_dict(weights, strict=False)
    if missing or unexpected:
        raise InputError(f"{path}: does not fit config.json; missing {missing[:3]}, unexpected {unexpected[:3]}")
    return clip


def stage_channels(description: dict[str, Any]) -> tuple[int, int, int, int, int]:
    """Channels after the stem and the four stages of a ResNet tower."""
    width = description["config"]["vision_cfg"]["width"]
    return width, 4 * width, 8 * width, 16 * width, 32 * width


def encode_words(clip: CLIP, tokens: Tensor) -> Tensor:
    """Word features (B, T, C) after the final layer norm, un-projected; T may be shorter than CLIP's own context."""
    length = tokens.shape[1]
    embedded = clip.token_embedding(tokens) + clip.positional_embedding[:length]
    mask = None if clip.attn_mask is None else clip.attn_mask[:length, :length]
    return clip.ln_final(clip.transformer(embedded, attn_mask=mask))


def sentence_feature(clip: CLIP, words: Tensor, tokens: Tensor) -> Tensor:
    """Sentence feature (B, E): the word feature at the highest token id (the end token), projected; not normalised."""
    at_end = words[torch.arange(len(words), device=words.device), tokens.argmax(dim=1)]
    return at_end @ clip.text_projection


def stage_features(visual: nn.Module, image: Tensor) -> list[Tensor]:
    """Maps (B, C, H, W) after the stem and the four stages, strides 4, 4, 8, 16, 32. The attention pool is not computed."""
    features = visual.forward_intermediates(image, intermediates_only=True)  # type: ignore[operator]
    return features["image_intermediates"]
