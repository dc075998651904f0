"""Token ids of any sentence: open_clip's own, cut sentences, pruned vocabularies."""

import operator
import random
from collections.abc import Sequence
from typing import Any

import torch
from hypothesis import given
from hypothesis import strategies as st
from open_clip.tokenizer import SimpleTokenizer

from tris_core.clip.bpe import FastTokenizer
from tris_core.clip.tokenizer import UNKNOWN, Tokenizer

OPEN_CLIP = SimpleTokenizer()
KNOWN = sorted(
    {i for word in ("red", "star", "on", "the", "left", ",") for i in OPEN_CLIP.encode(word)}
)
WHOLE, PRUNED = Tokenizer(), Tokenizer(KNOWN)
SENTENCES = st.one_of(
    st.text(max_size=60),
    st.lists(
        st.sampled_from(["red", "star", "left,", "Ünheard", "🦊", "&amp;", "\n"]), max_size=40
    ).map(" ".join),
)
BATCHES = st.lists(SENTENCES, min_size=1, max_size=3)
LENGTHS = st.integers(2, 24)


@given(BATCHES, LENGTHS)
def test_with_its_whole_vocabulary_open_clips_ids(texts: Sequence[str], length: int) -> None:
    assert torch.equal(WHOLE(texts, length), OPEN_CLIP(texts, context_length=length))


# Many rounds, many occurrences of one pair, and runs of a single letter.
LONG_WORDS = st.one_of(
    st.text("aehinrst", max_size=300),
    st.text("ab", max_size=100),
    st.builds(operator.mul, st.text("aehlo", min_size=1, max_size=4), st.integers(1, 100)),
    st.text(max_size=100),
)


@given(LONG_WORDS)
def test_a_long_word_has_open_clips_ids(word: str) -> None:
    assert WHOLE.words(word) == OPEN_CLIP.encode(word)


class CountedRanks(dict[tuple[str, str], int]):
    """A table of merges that counts how often it is asked."""

    asked = 0

    def get(self, *pair: Any) -> Any:
        self.asked += 1
        return super().get(*pair)


def test_the_work_grows_with_a_words_length_and_not_with_its_square() -> None:
    tokenizer = FastTokenizer()
    word = "".join(random.Random(0).choices("abcdehilnostw", k=20_000))
    tokenizer.bpe_ranks = CountedRanks(tokenizer.bpe_ranks)
    tokenizer.encode(word)
    assert tokenizer.bpe_ranks.asked < 6 * len(word)


@given(BATCHES, LENGTHS)
def test_pruned_ids_are_renumbered_one_by_one(texts: Sequence[str], length: int) -> None:
    back = dict(enumerate(KNOWN, start=2)) | {
        PRUNED.start: WHOLE.start,
        PRUNED.end: WHOLE.end,
        0: 0,
    }
    for mine, whole in zip(
        PRUNED(texts, length).flatten().tolist(),
        WHOLE(texts, length).flatten().tolist(),
        strict=True,
    ):
        assert whole not in KNOWN if mine == UNKNOWN else back[mine] == whole


@given(BATCHES, LENGTHS, st.sampled_from([WHOLE, PRUNED]))
def test_what_is_too_long_loses_its_last_words_or_its_end(
    texts: Sequence[str], length: int, tokenizer: Tokenizer
) -> None:
    kept, cut = tokenizer(texts, length), tokenizer(texts, length, overflow="cut")
    for text, one, other in zip(texts, kept, cut, strict=True):
        ids = [tokenizer.start, *tokenizer.words(text), tokenizer.end]
        assert other.tolist() == (ids + [0] * length)[:length]
        assert int(one.argmax()) == min(len(ids), length) - 1
        assert one[one.argmax()] == tokenizer.end
        assert torch.equal(one[: one.argmax()], other[: one.argmax()])


@given(st.lists(SENTENCES, max_size=3))
def test_the_share_of_unknown_words_counts_them(texts: Sequence[str]) -> None:
    ids = [i for text in texts for i in OPEN_CLIP.encode(text)]
    assert PRUNED.unknown_share(texts) == (
        sum(i not in KNOWN for i in ids) / len(ids) if ids else 0
    )
    assert WHOLE.unknown_share(texts) == 0
