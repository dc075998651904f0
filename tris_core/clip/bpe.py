"""open_clip's tokenizer, with a merge loop that takes a word of a million letters in seconds."""

from collections import defaultdict
from functools import lru_cache
from heapq import heapify, heappop, heappush
from itertools import pairwise

from open_clip.tokenizer import SimpleTokenizer


class FastTokenizer(SimpleTokenizer):
    """The same ids as `SimpleTokenizer`, which rescans the whole word after every merge.

    A round merges every occurrence of the pair of lowest rank, from left to right. Pairs that
    arise meanwhile wait for their own round, as in open_clip.
    """

    def bpe(self, token: str) -> str:
        """The word's parts, separated by spaces."""
        if token not in self.cache:
            word = _Word([*token[:-1], token[-1] + "</w>"], self.bpe_ranks)
            self.cache[token] = " ".join(word.merged())
        parts: str = self.cache[token]
        return parts


class _Word:
    """A word's parts as a linked list, and the merges that wait."""

    def __init__(self, parts: list[str], ranks: dict[tuple[str, str], int]) -> None:
        self._parts, self._table, self._end = parts, ranks, len(parts)
        self._left = list(range(-1, self._end - 1))
        self._right = list(range(1, self._end + 1))
        self._waiting: defaultdict[int, list[int]] = defaultdict(list)  # rank: starts of its pairs
        for start, pair in enumerate(pairwise(parts)):
            if (rank := self._table.get(pair)) is not None:
                self._waiting[rank].append(start)
        self._ranks = list(self._waiting)
        heapify(self._ranks)

    def merged(self) -> list[str]:
        """The parts that are left when no pair has a rank."""
        while self._ranks:
            lowest = heappop(self._ranks)
            for start in sorted(self._waiting.pop(lowest)):
                if self._rank(start) == lowest:  # else a neighbour has taken one of the two
                    self._merge(start)
        return [part for part in self._parts if part]

    def _rank(self, start: int) -> int | None:
        """Rank of the pair that starts here; None if there is no such pair."""
        after = self._right[start]
        if not self._parts[start] or after == self._end:
            return None
        return self._table.get((self._parts[start], self._parts[after]))

    def _merge(self, start: int) -> None:
        after = self._right[start]
        self._parts[start] += self._parts[after]
        self._parts[after] = ""
        self._right[start] = self._right[after]
        if self._right[start] < self._end:
            self._left[self._right[start]] = start
        for changed in (self._left[start], start):
            rank = self._rank(changed) if changed >= 0 else None
            if rank is not None:
                if rank not in self._waiting:
                    heappush(self._ranks, rank)
                self._waiting[rank].append(changed)


@lru_cache(maxsize=1)
def bpe() -> FastTokenizer:
    """The one tokenizer of the process."""
    return FastTokenizer()
