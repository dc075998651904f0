"""Sentences as CLIP's token ids."""

from collections.abc import Sequence

import torch
from torch import Tensor

from tris_core.clip.bpe import bpe
from tris_core.weights.clip_spec import SPECIAL

PAD, UNKNOWN = 0, 1


class Tokenizer:
    """Sentences to token ids, (B, T) int32: start, words, end, zeros.

    With `vocabulary` (BPE ids that kept an embedding row) ids are renumbered: 0 padding, 1 unknown,
    then the vocabulary, then start and end. The end token always has the highest id, which is how
    CLIP finds it.
    """

    def __init__(self, vocabulary: Sequence[int] | None = None) -> None:
        self._bpe = bpe()
        if vocabulary is None:
            self._rows, self.size = None, self._bpe.vocab_size
        else:
            self._rows = {bpe_id: row for row, bpe_id in enumerate(vocabulary, start=2)}
            self.size = len(vocabulary) + SPECIAL
        self.start, self.end = self.size - 2, self.size - 1

    def words(self, text: str) -> list[int]:
        """Ids of a sentence without start and end; `UNKNOWN` outside a pruned vocabulary."""
        ids: list[int] = self._bpe.encode(text)
        return ids if self._rows is None else [self._rows.get(i, UNKNOWN) for i in ids]

    def __call__(self, texts: Sequence[str], length: int, *, overflow: str = "keep_eot") -> Tensor:
        """Token ids (B, length).

        A longer sentence loses its end: `keep_eot` keeps the end token, `cut` drops it as the
        release does (docs/paper_vs_code.md#tokens).
        """
        tokens = torch.zeros(len(texts), length, dtype=torch.int32)
        for row, text in zip(tokens, texts, strict=True):
            ids = [self.start, *self.words(text), self.end]
            if len(ids) > length:
                ids = ids[:length] if overflow == "cut" else [*ids[: length - 1], self.end]
            row[: len(ids)] = torch.tensor(ids)
        return tokens

    def unknown_share(self, texts: Sequence[str]) -> float:
        """Share of tokens, in [0, 1], outside the vocabulary; 0 for a whole vocabulary."""
        if self._rows is None:
            return 0.0
        total = unknown = 0
        for text in texts:
            ids = self.words(text)
            total += len(ids)
            unknown += ids.count(UNKNOWN)
        return unknown / max(1, total)
