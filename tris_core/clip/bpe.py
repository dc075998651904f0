"""open_clip's tokenizer, with a merge loop that takes a word of a million letters in seconds."""

from collections import defaultdict
from functools import lru_cache
from heapq import heapify, heappop, heappush
from itertools import pairwise

from open_clip.tokenizer import SimpleTokenizer


class FastTokenizer(SimpleTokenizer):
    """The same ids as `SimpleTokenizer`, whose own merge loop rescans the whole word after every merge.

    A round merges every occurrence of the pair of lowest rank, from left to right; pairs that come up meanwhile wait for
    their own round, as in open_clip.
    """

    def bpe(self, token: str) -> str:
        """The word's parts, separated by spaces."""
        if token not in self.cache:
            self.cache[token] = " ".join(self._merged([*token[:-1], token[-1] + "</w>"]))
        parts: str = self.cache[token]
        return parts

    def _merged(self, parts: list[str]) -> list[str]:
        end = len(parts)
        left, right = (
            list(range(-1, end - 1)),
            list(range(1, end + 1)),
        )  # a linked list of the parts that are left
        waiting: defaultdict[int, list[int]] = defaultdict(
            list
        )  # by rank, where such a pair starts or once started
        for start, pair in enumerate(pairwise(parts)):
            if (rank := self.bpe_ranks.get(pair)) is not None:
                waiting[rank].append(start)
        ranks = list(waiting)
        heapify(ranks)
        while ranks:
            lowest = heappop(ranks)
            for i in sorted(waiting.pop(lowest)):
                after = right[i]
                if (
                    not parts[i]
                    or after == end
                    or self.bpe_ranks.get((parts[i], parts[after])) != lowest
                ):
                    continue  # a neighbour has taken one of the two since
                parts[i] += parts[after]
                parts[after] = ""
                right[i] = right[after]
                if right[i] < end:
                    left[right[i]] = i
                for start in (left[i], i):
                    if start < 0 or right[start] == end:
                        continue
                    if (
                        rank := self.bpe_ranks.get((parts[start], parts[right[start]]))
                    ) is not None:
                        if rank not in waiting:
                            heappush(ranks, rank)
                        waiting[rank].append(start)
        return [part for part in parts if part]


@lru_cache(maxsize=1)
def bpe() -> FastTokenizer:
    """The one tokenizer of the process."""
    return FastTokenizer()
