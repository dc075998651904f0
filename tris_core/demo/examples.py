"""Example pictures with sentences, from the generator of the embedded data set."""

from pathlib import Path

import numpy as np
from PIL import Image

from tris_core.shapes.dataset import SIZES
from tris_core.shapes.language import draw_expressions
from tris_core.shapes.scene import render, sample_scene

SEEDS = (54, 12, 89, 104)  # three look-alikes each, and a sentence for every one
WIDTH, HEIGHT, THINGS, SCALE = 216, 168, 3, 2.0


def draw_examples(folder: Path) -> list[list[str]]:
    """Write example pictures to `folder`.

    Returns, for each picture, its path and a sentence for each of its objects, one per line.
    """
    examples = []
    for seed in SEEDS:
        rng = np.random.default_rng(seed)
        scene = sample_scene(rng, WIDTH, HEIGHT, THINGS, SIZES)
        texts = [str(draw_expressions(rng, scene, target, 1)[0]) for target in range(THINGS)]
        path = folder / f"shapes_{seed}.png"
        Image.fromarray(render(scene, SCALE)[0]).save(path)
        examples.append([str(path), "\n".join(texts)])
    return examples
