"""A second, naive reader parses expressions and captions and checks them against the scene."""

from itertools import permutations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tris_core.shapes.dataset import SIZES
from tris_core.shapes.language import (
    WORDS,
    Expression,
    Phrase,
    draw_caption,
    draw_expressions,
    identifies,
)
from tris_core.shapes.scene import COLORS, PATTERNS, SHAPES, Scene, Thing, sample_scene

RELATIONS = ("to the left of", "to the right of", "above", "below")
PLACES = ("on the left", "on the right", "at the top", "at the bottom")


def named(words: str, thing: Thing) -> bool:
    """Whether every word of a noun phrase is true of a thing."""
    facts = {thing.shape, thing.color, thing.pattern, "thing", "a", "the"}
    facts |= {thing.size_word} - {""}
    return set(words.split()) <= facts


def related(relation: str, a: Thing, b: Thing) -> bool:
    """Whether thing `a` has a relation to thing `b`."""
    dx, dy = a.x - b.x, a.y - b.y
    return {
        "to the left of": dx < 0 and -dx > abs(dy),
        "to the right of": dx > 0 and dx > abs(dy),
        "above": dy < 0 and -dy > abs(dx),
        "below": dy > 0 and dy > abs(dx),
    }[relation]


def most(place: str, scene: Scene, fitting: list[int]) -> list[int]:
    """The fitting thing furthest to a side, if it is in that half of the picture."""
    rank = {
        "on the left": lambda i: scene.width / 2 - scene.things[i].x,
        "on the right": lambda i: scene.things[i].x - scene.width / 2,
        "at the top": lambda i: scene.height / 2 - scene.things[i].y,
        "at the bottom": lambda i: scene.things[i].y - scene.height / 2,
    }[place]
    best = max(fitting, key=rank)
    return [best] if rank(best) > 0 else []


def read(text: str, scene: Scene) -> list[int]:
    """Indices of the things that a sentence can refer to."""
    everything = range(len(scene.things))
    for relation in RELATIONS:
        head, found, landmark = text.partition(f" {relation} the ")
        if found:
            landmarks = [j for j in everything if named(landmark, scene.things[j])]
            assert len(landmarks) == 1, f"{text!r}: {len(landmarks)} landmarks"
            other = scene.things[landmarks[0]]
            fitting = [i for i in everything if named(head, scene.things[i])]
            return [i for i in fitting if related(relation, scene.things[i], other)]
    for place in PLACES:
        if text.endswith(f" {place}"):
            phrase = text.removesuffix(place)
            return most(place, scene, [i for i in everything if named(phrase, scene.things[i])])
    return [i for i in everything if named(text, scene.things[i])]


@st.composite
def scenes(draw: st.DrawFn) -> tuple[Scene, np.random.Generator]:
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    palette = (SHAPES, tuple(COLORS), PATTERNS)
    if draw(st.booleans()):  # a small palette makes look-alikes, which need qualifiers
        palette = (SHAPES[:2], tuple(COLORS)[:2], PATTERNS[:2])
    width, height = draw(st.integers(184, 216)), draw(st.integers(168, 200))
    return sample_scene(rng, width, height, draw(st.integers(1, 5)), SIZES, palette), rng


@settings(max_examples=150, deadline=None)
@given(scenes())
def test_every_expression_refers_to_its_target_only(
    drawn: tuple[Scene, np.random.Generator],
) -> None:
    scene, rng = drawn
    for target in range(len(scene.things)):
        texts = [str(expression) for expression in draw_expressions(rng, scene, target, 3)]
        assert len(texts) == len(set(texts)) <= 3
        for text in texts:
            assert read(text, scene) == [target], text
            assert set(text.split()) <= set(WORDS)


def phrase_holds(part: str, thing: Thing, scene: Scene) -> bool:
    """Whether a part of a caption, with its place if it names one, is true of a thing."""
    for place in PLACES:
        if part.endswith(f" {place}"):
            half = {
                "on the left": thing.x < scene.width / 2,
                "on the right": thing.x > scene.width / 2,
                "at the top": thing.y < scene.height / 2,
                "at the bottom": thing.y > scene.height / 2,
            }[place]
            return half and named(part.removesuffix(place), thing)
    return named(part, thing)


@settings(max_examples=200, deadline=None)
@given(scenes())
def test_captions_are_true(drawn: tuple[Scene, np.random.Generator]) -> None:
    scene, rng = drawn
    caption = draw_caption(rng, scene)
    relation = next((relation for relation in RELATIONS if f" {relation} " in caption), "")
    parts = caption.split(f" {relation} ") if relation else caption.split(" and ")
    assert len(scene.things) - 1 <= len(parts) <= len(scene.things)
    assert set(caption.split()) <= set(WORDS)
    readings = [  # every way to assign a different thing to each part
        things
        for things in permutations(scene.things, len(parts))
        if all(phrase_holds(part, thing, scene) for part, thing in zip(parts, things, strict=True))
        and (not relation or related(relation, things[0], things[1]))
    ]
    assert readings, caption


def thing(x: float, y: float, color: str = "red", size: float = 70) -> Thing:
    return Thing("star", color, "plain", x, y, size, "", 0.0)


def test_near_ties_identify_nothing() -> None:
    left = Expression(Phrase("", "", "", "star"), place="on the left")
    clear = Scene(200, 200, (thing(50, 50), thing(150, 50)), 0)
    nearly_as_far_left = Scene(200, 200, (thing(50, 50), thing(60, 150)), 0)
    nearly_in_the_middle = Scene(200, 200, (thing(95, 50), thing(190, 50)), 0)
    assert identifies(clear, left, 0)
    assert not identifies(nearly_as_far_left, left, 0)
    assert not identifies(nearly_in_the_middle, left, 0)


def test_a_relation_needs_exactly_one_landmark() -> None:
    red, blue = Phrase("", "", "red", ""), Phrase("", "", "blue", "")
    above = Expression(red, relation="above", landmark=blue)
    one = Scene(200, 200, (thing(50, 40), thing(50, 150, "blue")), 0)
    two = Scene(200, 200, (*one.things, thing(150, 150, "blue")), 0)
    assert identifies(one, above, 0)
    assert not identifies(two, above, 0)
    assert not identifies(one, above, 1)
