"""Scenes of the embedded data set: patterned shapes on a textured background, partly occluded.

`Scene` and `Thing` are plain data. `render` draws pixels and visible masks. Lengths are in pixels
of the scene's own canvas. `render(scale=...)` draws the same scene at another size, which training
the demo CLIP needs.
"""

from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

COLORS: dict[str, tuple[int, int, int]] = {  # RGB
    "red": (214, 38, 38),
    "orange": (245, 136, 22),
    "yellow": (242, 218, 38),
    "green": (44, 158, 58),
    "cyan": (58, 208, 214),
    "blue": (40, 74, 214),
    "purple": (128, 48, 168),
    "pink": (246, 132, 190),
    "white": (244, 244, 244),
    "black": (26, 26, 28),
}
PATTERNS = ("plain", "striped", "dotted", "checkered")
SHAPES = ("circle", "square", "triangle", "star", "cross", "diamond", "heart", "arrow")
# Position between the smallest (0) and the largest size (1): things below SMALL are called "small",
# things above BIG "big".
SMALL, BIG = 2 / 7, 13 / 21
# Fraction of the smaller bounding box. With up to three neighbours over a quarter stays visible.
MAX_OVERLAP = 0.25

Image = NDArray[np.uint8]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Thing:
    """One object of a scene.

    `x`, `y` and `size` are the centre and the side of its bounding square in pixels. `size_word` is
    "small", "big" or empty. `angle` is the rotation in radians.
    """

    shape: str
    color: str
    pattern: str
    x: float
    y: float
    size: float
    size_word: str
    angle: float


@dataclass(frozen=True)
class Scene:
    """Things, from back to front, on a canvas of `width` x `height` pixels.

    `seed` is the random seed of the background and the noise.
    """

    width: int
    height: int
    things: tuple[Thing, ...]
    seed: int


def sample_scene(
    rng: np.random.Generator,
    width: int,
    height: int,
    n_things: int,
    sizes: tuple[float, float],
    palette: tuple[tuple[str, ...], ...] = (SHAPES, tuple(COLORS), PATTERNS),
) -> Scene:
    """Draw a scene of up to `n_things` things that overlap by at most `MAX_OVERLAP`.

    Each thing after the first copies two attributes of an earlier thing with probability 0.5.
    A thing that finds no room in 30 trials is left out. At least one thing is placed.

    Args:
        width, height: size of the canvas in pixels.
        sizes: smallest and largest side of a thing in pixels.
        palette: the shapes, colours and patterns to choose from.
    """
    least, largest = sizes
    things: list[Thing] = []
    for _ in range(n_things):
        shape, color, pattern = (names[rng.integers(len(names))] for names in palette)
        if things and rng.random() < 0.5:
            twin = things[rng.integers(len(things))]
            differs = rng.integers(3)
            shape = shape if differs == 0 else twin.shape
            color = color if differs == 1 else twin.color
            pattern = pattern if differs == 2 else twin.pattern
        for _ in range(30):
            size = float(rng.uniform(least, min(largest, 0.95 * min(width, height))))
            x, y = (float(rng.uniform(size / 2, side - size / 2)) for side in (width, height))
            grade = (size - least) / (largest - least)
            size_word = "small" if grade < SMALL else "big" if grade > BIG else ""
            candidate = Thing(
                shape, color, pattern, x, y, size, size_word, float(rng.uniform(-0.2, 0.2))
            )
            if all(_overlap(candidate, other) <= MAX_OVERLAP for other in things):
                things.append(candidate)
                break
    order = rng.permutation(len(things))
    return Scene(width, height, tuple(things[i] for i in order), int(rng.integers(2**31)))


def _overlap(a: Thing, b: Thing) -> float:
    """Intersection of two bounding squares, as a fraction of the smaller one's area."""
    sides = [max(0.0, (a.size + b.size) / 2 - abs(p - q)) for p, q in ((a.x, b.x), (a.y, b.y))]
    smaller = min(a.size, b.size)
    return min(sides[0], smaller) * min(sides[1], smaller) / smaller**2


@cache
def outline(shape: str) -> NDArray[np.float64]:
    """Corner points (N, 2) of a shape in the square [-1, 1]^2, y down."""
    turn = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    if shape == "circle":
        points = np.stack([np.cos(turn), np.sin(turn)], 1)
    elif shape == "heart":
        x = 16 * np.sin(turn) ** 3
        y = -(13 * np.cos(turn) - 5 * np.cos(2 * turn) - 2 * np.cos(3 * turn) - np.cos(4 * turn))
        points = np.stack([x / 16, (y + 2.5) / 14.5], 1)
    elif shape == "star":
        spikes = np.arange(10) * np.pi / 5 - np.pi / 2
        radius = np.where(np.arange(10) % 2 == 0, 1.0, 0.48)
        points = np.stack([np.cos(spikes) * radius, np.sin(spikes) * radius], 1)
    else:
        arm = 0.36
        points = np.array(
            {
                "square": [(-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)],
                "triangle": [(0, -0.95), (1, 0.85), (-1, 0.85)],
                "diamond": [(0, -1), (0.72, 0), (0, 1), (-0.72, 0)],
                "cross": [
                    (-arm, -1), (arm, -1), (arm, -arm), (1, -arm), (1, arm), (arm, arm),
                    (arm, 1), (-arm, 1), (-arm, arm), (-1, arm), (-1, -arm), (-arm, -arm),
                ],
                "arrow": [
                    (-1, -0.4), (0.1, -0.4), (0.1, -0.95), (1, 0),
                    (0.1, 0.95), (0.1, 0.4), (-1, 0.4),
                ],
            }[shape]
        )  # fmt: skip
    return points.astype(np.float64)


def render(scene: Scene, scale: float = 1.0) -> tuple[Image, list[Mask]]:
    """Draw a scene.

    Returns:
        The RGB image (H, W, 3), uint8, and for each thing the mask (H, W) of its visible part.
    """
    height, width = round(scene.height * scale), round(scene.width * scale)
    rng = np.random.default_rng(scene.seed)
    canvas = _background(rng, height, width)
    masks: list[Mask] = []
    for thing in scene.things:
        coverage = _coverage(thing, scale, height, width)
        x0, y0, w, h = cv2.boundingRect(coverage)
        box = np.s_[y0 : y0 + h, x0 : x0 + w]
        alpha = coverage[box][..., None].astype(np.float32) / 255
        canvas[box] += alpha * (_paint(thing, scale, rng, x0, y0, w, h) - canvas[box])
        inside = coverage > 127
        for mask in masks:
            mask[inside] = False
        masks.append(inside)
    canvas += rng.normal(0, 5, (height, width, 1)).astype(np.float32)
    return np.clip(canvas, 0, 255).astype(np.uint8), masks


def _coverage(thing: Thing, scale: float, height: int, width: int) -> Image:
    cos, sin = np.cos(thing.angle), np.sin(thing.angle)
    turned = outline(thing.shape) @ np.array([[cos, sin], [-sin, cos]])
    points = (np.array([thing.x, thing.y]) + turned * thing.size / 2) * scale - 0.5
    coverage = np.zeros((height, width), np.uint8)
    cv2.fillPoly(coverage, [np.round(points * 16).astype(np.int32)], 255, cv2.LINE_AA, 4)
    return coverage


def _paint(
    thing: Thing, scale: float, rng: np.random.Generator, x0: int, y0: int, w: int, h: int
) -> NDArray[np.float32]:
    """Colours (h, w, 3) of a thing's bounding box: base colour, pattern and slight shading."""
    base = np.array(COLORS[thing.color], np.float32) + rng.normal(0, 8, 3).astype(np.float32)
    shade = base * 0.42 if base.mean() > 110 else base * 0.5 + 118
    x = ((np.arange(w, dtype=np.float32) + x0) / scale - thing.x)[None, :]
    y = ((np.arange(h, dtype=np.float32) + y0) / scale - thing.y)[:, None]
    period = thing.size / 4.5
    if thing.pattern == "striped":
        tilt = thing.angle * 3
        marked = np.sin((x * np.cos(tilt) + y * np.sin(tilt)) * (2 * np.pi / period)) > 0
    elif thing.pattern == "dotted":
        marked = ((x / period) % 1 - 0.5) ** 2 + ((y / period) % 1 - 0.5) ** 2 < 0.085
    elif thing.pattern == "checkered":
        marked = (np.floor(x / period) + np.floor(y / period)) % 2 == 0
    else:
        marked = np.zeros((h, w), bool)
    light = 1 + rng.uniform(-0.2, 0.2) * (x + y) / thing.size
    return np.asarray(np.where(marked[..., None], shade, base) * light[..., None], np.float32)


def _background(rng: np.random.Generator, height: int, width: int) -> NDArray[np.float32]:
    """Muted colours (height, width, 3): coarse noise, with lines over it half of the time."""
    tone = rng.uniform(85, 175) + rng.normal(0, 14, 3)
    coarse = rng.normal(0, 11, (5, 5, 3)) + rng.normal(0, 14, (5, 5, 1))
    canvas = cv2.resize(coarse.astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC)
    canvas += tone.astype(np.float32)
    if rng.random() < 0.5:
        angle, period = rng.uniform(0, np.pi), rng.uniform(5, 14)
        along = np.arange(width)[None, :] * np.cos(angle) + np.arange(height)[:, None] * np.sin(
            angle
        )
        canvas += (rng.uniform(5, 14) * np.sin(along * (2 * np.pi / period))).astype(np.float32)[
            ..., None
        ]
    return np.asarray(canvas, np.float32)
