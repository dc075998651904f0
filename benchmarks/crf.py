"""CRF seeds of an image of 640 x 480, against a separate CRF per object and confidence.

The second part measures a smaller `crf_seeds.resolution`: how far its labels agree with those at
full size. The last row has exact filters at the smallest one: how far their labels agree with the
lattice's.
"""

from functools import partial

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks._measure import Row, device, row, seconds, show
from tris_core.crf.exact import ExactCRF
from tris_core.crf.lattice import LatticeCRF
from tris_core.crf.seeds import crf_labels

HEIGHT, WIDTH, REFS = 480, 640, 3
lattice = partial(LatticeCRF, iterations=10, gt_prob=0.7)


def main() -> None:
    image, cams = picture()
    ours = seconds(lambda: crf_labels(image, cams, lattice), repeats=1)
    twin = seconds(lambda: one_by_one(image, cams), repeats=1, warm_up=False)
    full = crf_labels(image, cams, lattice)
    np.testing.assert_array_equal(full, one_by_one(image, cams))
    rows: list[Row] = [
        row(f"crf {REFS} refs of 640 x 480, one core", ours / REFS, twin=twin / REFS, agreement=1.0)
    ]
    for resolution in (0.75, 0.5, 0.25):
        small = crf_labels(image, cams, lattice, resolution=resolution)
        work = partial(crf_labels, image, cams, lattice, resolution=resolution)
        spent = seconds(work, repeats=1, warm_up=False) / REFS
        agreement = float((small == full).mean())
        rows.append(row(f"crf at resolution {resolution}", spent, agreement=agreement))
    exact = partial(ExactCRF, iterations=10, gt_prob=0.7, device=device())
    work = partial(crf_labels, image, cams, exact, resolution=resolution)
    spent = seconds(work, repeats=1, warm_up=False) / REFS
    agreement = float((work() == small).mean())
    rows.append(row(f"exact filters at resolution {resolution}", spent, agreement=agreement))
    show(rows)


def picture() -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Coarse colours with grain, and blobs as response maps."""
    rng = np.random.default_rng(0)
    coarse = cv2.resize(
        rng.integers(0, 255, (12, 16, 3), dtype=np.uint8),
        (WIDTH, HEIGHT),
        interpolation=cv2.INTER_CUBIC,
    )
    image = np.clip(coarse.astype(int) + rng.integers(-8, 8, coarse.shape), 0, 255).astype(np.uint8)
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    places = rng.uniform((100, 100), (HEIGHT - 100, WIDTH - 100), (REFS, 2))
    cams = [np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / (2 * 70**2)) for cy, cx in places]
    return image, np.stack(cams).astype(np.float32)


def one_by_one(image: NDArray[np.uint8], cams: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Labels from a new CRF for every object and confidence."""
    labels = []
    for cam in cams:
        sure, maybe = (lattice(image)(cam[None] > t)[0] for t in (0.3, 0.1))
        labels.append(np.where(sure, 1, np.where(maybe, 255, 0)))
    return np.stack(labels).astype(np.uint8)
