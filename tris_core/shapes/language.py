"""Sentences of the embedded data set: expressions for one thing, and captions of whole scenes.

An expression is a noun phrase (any of size, pattern, colour, shape) with at most one qualifier:
a place in the picture, or a relation to another thing. `referents` computes which things it
describes, so `identifies` can check that it is unambiguous.
"""

from dataclasses import dataclass

import numpy as np

from tris_core.shapes.scene import COLORS, PATTERNS, SHAPES, Scene, Thing

PLACES = {
    "on the left": (-1, 0), "on the right": (1, 0), "at the top": (0, -1), "at the bottom": (0, 1),
}  # fmt: skip
RELATIONS = {
    "to the left of": (-1, 0), "to the right of": (1, 0), "above": (0, -1), "below": (0, 1),
}  # fmt: skip
MARGIN = 16.0  # pixels; a place or relation clearly holds, or clearly fails, by this margin

_OTHER_WORDS = {"small", "big", "thing", "and", "a", "the", "with", "of", "scene"}
_QUALIFIER_WORDS = {word for phrase in (*PLACES, *RELATIONS) for word in phrase.split()}
WORDS = tuple(sorted({*SHAPES, *COLORS, *PATTERNS} | _OTHER_WORDS | _QUALIFIER_WORDS))


@dataclass(frozen=True)
class Phrase:
    """A noun phrase. An empty string leaves an attribute unspecified."""

    size: str
    pattern: str
    color: str
    shape: str

    def fits(self, thing: Thing) -> bool:
        pairs = (
            (self.size, thing.size_word),
            (self.pattern, thing.pattern),
            (self.color, thing.color),
            (self.shape, thing.shape),
        )
        return all(asked in ("", actual) for asked, actual in pairs)

    def __str__(self) -> str:
        return " ".join(
            word for word in (self.size, self.pattern, self.color, self.shape or "thing") if word
        )


@dataclass(frozen=True)
class Expression:
    """A noun phrase with at most one qualifier.

    The qualifier is a `place` from `PLACES`, or a `relation` from `RELATIONS` to the thing that
    `landmark` describes.
    """

    phrase: Phrase
    place: str = ""
    relation: str = ""
    landmark: Phrase | None = None

    def __str__(self) -> str:
        if self.landmark is not None:
            return f"{self.phrase} {self.relation} the {self.landmark}"
        return f"{self.phrase} {self.place}".strip()


def referents(scene: Scene, expression: Expression, *, slack: float = 0.0) -> set[int]:
    """Indices of the things that the expression describes.

    Args:
        slack: pixels by which the conditions on places and relations are relaxed.
    """
    things = scene.things
    fitting = [i for i, thing in enumerate(things) if expression.phrase.fits(thing)]
    if expression.place:
        dx, dy = PLACES[expression.place]
        ahead = [
            dx * (things[i].x - scene.width / 2) + dy * (things[i].y - scene.height / 2)
            for i in range(len(things))
        ]
        return {
            i
            for i in fitting
            if ahead[i] > MARGIN - slack
            and all(ahead[i] > ahead[j] - slack for j in fitting if j != i)
        }
    if expression.landmark is not None:
        dx, dy = RELATIONS[expression.relation]
        landmarks = [j for j, thing in enumerate(things) if expression.landmark.fits(thing)]

        def related(i: int, j: int) -> bool:
            across = [things[i].x - things[j].x, things[i].y - things[j].y]
            along = dx * across[0] + dy * across[1]
            aside = abs(dy * across[0]) + abs(dx * across[1])
            return i != j and along > MARGIN - slack and along > aside - slack

        return {i for i in fitting if any(related(i, j) for j in landmarks)}
    return set(fitting)


def identifies(scene: Scene, expression: Expression, target: int) -> bool:
    """Whether the expression clearly describes `target` and no other thing even approximately."""
    if expression.landmark is not None:
        described = [i for i, thing in enumerate(scene.things) if expression.landmark.fits(thing)]
        if len(described) != 1 or target in described:
            return False
    strict, loose = referents(scene, expression), referents(scene, expression, slack=2 * MARGIN)
    return strict == {target} == loose


def draw_phrase(rng: np.random.Generator, thing: Thing, attributes: int) -> Phrase:
    """Describe a thing by a random choice of its attributes.

    Names `attributes` (0-3) of pattern, colour and shape, and the size with probability 0.3.
    The pattern "plain" is named half of the time.
    """
    named = set(rng.permutation(3)[:attributes].tolist())
    said_plain = thing.pattern != "plain" or rng.random() < 0.5
    return Phrase(
        size=thing.size_word if rng.random() < 0.3 else "",
        pattern=thing.pattern if 0 in named and said_plain else "",
        color=thing.color if 1 in named else "",
        shape=thing.shape if 2 in named else "",
    )


def draw_expressions(
    rng: np.random.Generator, scene: Scene, target: int, n: int
) -> list[Expression]:
    """Draw up to `n` different unambiguous expressions for one thing.

    Returns fewer, possibly none, if 60 draws do not find `n`.
    """
    found: dict[str, Expression] = {}
    for _ in range(60):
        if len(found) == n:
            break
        thing = scene.things[target]
        attributes = int(rng.choice([3, 2, 1, 0], p=[0.62, 0.3, 0.05, 0.03]))
        phrase = draw_phrase(rng, thing, attributes)
        kind = rng.choice(["plain", "place", "relation"], p=[0.5, 0.25, 0.25])
        others = [i for i in range(len(scene.things)) if i != target]
        if kind == "place":
            expression = Expression(phrase, place=str(rng.choice(list(PLACES))))
        elif kind == "relation" and others:
            landmark = draw_phrase(rng, scene.things[rng.choice(others)], 2)
            expression = Expression(
                phrase, relation=str(rng.choice(list(RELATIONS))), landmark=landmark
            )
        else:
            expression = Expression(phrase)
        if identifies(scene, expression, target):
            found.setdefault(str(expression), expression)
    return list(found.values())


def draw_caption(rng: np.random.Generator, scene: Scene) -> str:
    """Describe a whole scene in one sentence. The demo CLIP is trained on these captions.

    Names the things in random order (one is sometimes left out), some with their place. Two things
    may be joined by a relation. A caption need not identify anything.
    """
    order = rng.permutation(len(scene.things))
    if rng.random() < 0.15 and len(order) > 1:
        order = order[:-1]
    parts: list[str] = []
    for i in order:
        thing = scene.things[i]
        phrase = draw_phrase(rng, thing, 3 if rng.random() < 0.8 else 2)
        places = [
            place
            for place in PLACES
            if i in referents(scene, Expression(Phrase("", "", "", ""), place=place), slack=MARGIN)
        ]
        said = Expression(
            phrase, place=str(rng.choice(places)) if places and rng.random() < 0.3 else ""
        )
        parts.append(("a " if rng.random() < 0.5 else "") + str(said))
    if len(order) == 2 and rng.random() < 0.5:
        first, second = (scene.things[i] for i in order)
        dx, dy = first.x - second.x, first.y - second.y
        words = ("to the left of", "to the right of") if abs(dx) > abs(dy) else ("above", "below")
        return f"{parts[0]} {words[int((dx if abs(dx) > abs(dy) else dy) > 0)]} {parts[1]}"
    return " and ".join(parts)
