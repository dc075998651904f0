"""Expressions as tokens. Apart from the other inputs: importing CLIP takes seconds that stages without text need not wait."""

from typing import Any

from torch import Tensor

from tris_core.models.clip import Tokenizer


def tokenize(texts: list[str], vocabulary: list[int] | None, text: dict[str, Any]) -> Tensor:
    """Token ids (L, max_tokens), and a line on the share of words that the vocabulary does not hold."""
    tokenizer = Tokenizer(vocabulary)
    print(f"{tokenizer.unknown_share(texts):.1%} of the words unknown", flush=True)
    return tokenizer(texts, text["max_tokens"], overflow=text["overflow"])
