"""Valid records with a few odd values, which random bytes would almost never produce."""

import copy
from collections.abc import Callable
from typing import Any, Protocol

BOMB: list[Any] = []
for _ in range(40):
    BOMB = [BOMB, BOMB]  # 2^40 empty lists when written out
ODD: tuple[Any, ...] = (
    None, True, 0, -1, 1, 7, 70, 2**31, 2**63 - 1, 2**63, -(2**63), 2**200,
    0.5, -1e300, float("nan"), float("inf"),
    "", " ", "a", "7", "70", "train", "../x", "/etc/passwd", "C:\\x", "a\0b", "\ud800",
    "x" * 300, "1" * 5000, "0", "none",
    b"", b"\xff", [], {}, (), set(), [[]], [{}], [None],
    [1, 2], [1, 2, 3, 4], [0, 0, 5, 0, 5, 5], [[0, 0, 5, 0, 5, 5]], [[10**5] * 6],
    {"size": [40, 60], "counts": [2400]}, {"size": [40, 60], "counts": "0"},
    [1e5, 1e5], {1: 2}, (1, (2,)),
)  # fmt: skip


class Choices(Protocol):
    """The part of atheris.FuzzedDataProvider used here: the fuzzer's bytes read as decisions."""

    def ConsumeIntInRange(self, least: int, most: int) -> int: ...


def mutated(content: Any, choices: Choices, *, odd: tuple[Any, ...] = (*ODD, BOMB)) -> Any:
    """A copy of nested dicts and lists with up to three places replaced, removed or repeated."""
    content = copy.deepcopy(content)
    for _ in range(choices.ConsumeIntInRange(1, 3)):
        content = _once(content, choices, odd)
    return content


def _once(content: Any, choices: Choices, odd: tuple[Any, ...]) -> Any:
    place, replace = content, _nowhere
    for _ in range(choices.ConsumeIntInRange(0, 7)):
        if not isinstance(place, dict | list) or not place:
            break
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        key = keys[choices.ConsumeIntInRange(0, len(keys) - 1)]
        parent, place = place, place[key]
        replace = _setter(parent, key)
    what = choices.ConsumeIntInRange(0, len(odd) + 1)
    if what < len(odd):
        new = copy.deepcopy(odd[what])
    elif isinstance(place, list) and place:
        new = place[1:] if what == len(odd) else [*place, place[0]]
    else:
        new = [place]
    if replace is _nowhere:
        return new
    replace(new)
    return content


def _setter(parent: Any, key: Any) -> Callable[[Any], None]:
    def replace(value: Any) -> None:
        parent[key] = value

    return replace


def _nowhere(value: Any) -> None:
    """Stands for the root, which has no parent to replace it in."""
