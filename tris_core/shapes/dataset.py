"""Write `shapes` to disk in refer's layout. The code that reads RefCOCO then reads it too.

<folder>/images/shapes_000001.jpg ...
<folder>/refer/shapes/instances.json, refs(demo).p
"""

import json
import pickle
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image
from scipy import ndimage

from tris_core.runtime.files import replacing
from tris_core.runtime.processes import map_in_processes
from tris_core.shapes.language import draw_expressions
from tris_core.shapes.scene import SHAPES, Mask, Scene, Thing, render, sample_scene

WIDTHS, HEIGHTS = (184, 216), (168, 200)  # pixels, inclusive
SIZES = (66.0, 108.0)  # pixels: two to three cells of a stride-32 map, as for objects in RefCOCO
N_THINGS = {2: 0.3, 3: 0.4, 4: 0.22, 5: 0.08}  # number of things: probability
MIN_PART = 8  # pixels; smaller visible pieces are left out of the annotation
ZOOM = 4

Row = dict[str, Any]
Drawn = tuple[Scene, list[tuple[Row, list[str]]]]


def write_shapes(folder: Path, *, train: int, val: int, test: int, seed: int) -> None:
    """Draw the scenes and write images, annotations and refs. Equal arguments give equal bytes.

    Every thing is annotated. A thing with fewer than two unambiguous expressions gets no ref.

    Args:
        folder: where `images/` and `refer/shapes/` are written; existing ones are replaced.
        train, val, test: number of scenes in each split.
        seed: random seed; scene n is drawn from [seed, n] alone.
    """
    splits = ["train"] * train + ["val"] * val + ["test"] * test
    images: list[Row] = []
    annotations: list[Row] = []
    refs: list[Row] = []
    seen: set[tuple[Thing, ...]] = set()
    with replacing(folder / "images") as image_folder:
        image_folder.mkdir()
        work = partial(_draw, image_folder, seed)
        drawn = list(map_in_processes(work, range(1, len(splits) + 1), workers=2))
    for split, (scene, annotated) in zip(splits, drawn, strict=True):
        assert scene.things not in seen, "a scene repeats an earlier one; use another seed"
        seen.add(scene.things)
        image_id, file_name = len(images) + 1, _file_name(len(images) + 1)
        images.append(
            {"id": image_id, "file_name": file_name, "height": scene.height, "width": scene.width}
        )
        for annotation, texts in annotated:
            annotation |= {"image_id": image_id, "id": len(annotations) + 1}
            annotations.append(annotation)
            if len(texts) >= 2:
                refs.append(_ref(refs, annotation, file_name, split, texts))
    with replacing(folder / "refer" / "shapes") as annotation_folder:
        annotation_folder.mkdir()
        _write_annotations(annotation_folder, images, annotations, refs)


def _file_name(number: int) -> str:
    return f"shapes_{number:06d}.jpg"


def _draw(folder: Path, seed: int, number: int) -> Drawn:
    """Draw scene `number` and write its image to `folder`.

    Runs in a forked process, so it must not use OpenCV's threads: they do not survive a fork.

    Returns:
        The scene, and for each thing its annotation (ids are added later) and its expressions.
    """
    rng = np.random.default_rng([seed, number])
    scene = _draw_scene(rng)
    pixels, masks = render(scene)
    Image.fromarray(pixels).save(folder / _file_name(number), quality=95)
    annotated = []
    for target, (thing, mask) in enumerate(zip(scene.things, masks, strict=True)):
        texts = [
            str(expression)
            for expression in draw_expressions(rng, scene, target, int(rng.integers(2, 4)))
        ]
        annotated.append((_annotation(1 + SHAPES.index(thing.shape), mask), texts))
    return scene, annotated


def _draw_scene(rng: np.random.Generator) -> Scene:
    width, height = (int(rng.integers(low, high + 1)) for low, high in (WIDTHS, HEIGHTS))
    return sample_scene(
        rng, width, height, int(rng.choice(list(N_THINGS), p=list(N_THINGS.values()))), SIZES
    )


def _annotation(category_id: int, mask: Mask) -> Row:
    mask = _without_specks(mask)
    x, y, w, h = cv2.boundingRect(mask.astype(np.uint8))
    return {
        "segmentation": polygons(mask),
        "area": float(mask.sum()),
        "iscrowd": 0,
        "bbox": [float(x), float(y), float(w), float(h)],
        "category_id": category_id,
    }


def _without_specks(mask: Mask) -> Mask:
    labels, _ = ndimage.label(mask, structure=np.ones((3, 3)))
    return mask & (np.bincount(labels.ravel()) >= MIN_PART)[labels]


def polygons(mask: Mask) -> list[list[float]]:
    """Trace the outer contours of a mask (H, W) as lists [x0, y0, x1, y1, ...].

    Coordinates are pixels from the image's left and upper edge. OpenCV's contours pass through
    the centres of border pixels, half a pixel inside the mask. Tracing the mask enlarged by
    `ZOOM` reduces this to an eighth of a pixel, so rasterising the polygon loses no row.
    """
    x, y, w, h = cv2.boundingRect(mask.astype(np.uint8))
    crop = mask[y : y + h, x : x + w].astype(np.uint8)
    enlarged = crop.repeat(ZOOM, axis=0).repeat(ZOOM, axis=1)
    contours, _ = cv2.findContours(enlarged, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    return [
        ((contour.reshape(-1, 2) + 0.5) / ZOOM + (x, y)).ravel().tolist() for contour in contours
    ]


def _ref(refs: list[Row], annotation: Row, file_name: str, split: str, texts: list[str]) -> Row:
    """The ref that follows `refs`, with refer's keys. Ids continue from the last ref."""
    first = refs[-1]["sent_ids"][-1] + 1 if refs else 0
    sent_ids = list(range(first, first + len(texts)))
    return {
        "sent_ids": sent_ids,
        "file_name": f"{Path(file_name).stem}_{annotation['id']}.jpg",
        "ann_id": annotation["id"],
        "ref_id": len(refs),
        "image_id": annotation["image_id"],
        "split": split,
        "sentences": [
            {"tokens": text.split(), "raw": text, "sent_id": sent_id, "sent": text}
            for sent_id, text in zip(sent_ids, texts, strict=True)
        ],
        "category_id": annotation["category_id"],
    }


def _write_annotations(
    folder: Path, images: list[Row], annotations: list[Row], refs: list[Row]
) -> None:
    instances = {
        "info": {"description": "shapes: generated scenes"},
        "licenses": [],
        "images": images,
        "annotations": annotations,
        "categories": [
            {"supercategory": "shape", "id": i, "name": name}
            for i, name in enumerate(SHAPES, start=1)
        ],
    }
    (folder / "instances.json").write_text(json.dumps(instances))
    (folder / "refs(demo).p").write_bytes(pickle.dumps(refs, protocol=2))
