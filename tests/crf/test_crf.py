"""CRF labels: released numbers, their combination rule, and what the module needs."""

import subprocess
import sys
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch

from tests.golden.reference import golden
from tris_core.crf.exact import ExactCRF
from tris_core.crf.filters import crf_builder
from tris_core.crf.lattice import LatticeCRF
from tris_core.crf.seeds import crf_labels
from tris_core.runtime.errors import InputError

G = golden("crf_label")
RELEASED = {"iterations": 10, "gt_prob": 0.7}
CPU = torch.device("cpu")
lattice, exact = (crf_builder(name, device=CPU, **RELEASED) for name in ("lattice", "exact"))


def crf_label(
    image: np.ndarray, cam: np.ndarray, build: Any = lattice, **options: Any
) -> np.ndarray:
    """Of a single map."""
    return crf_labels(image, cam[None], build, **options)[0]


@pytest.mark.parametrize(("key", "threshold"), [("fg", 0.3), ("bg", 0.1)])
def test_one_run_is_the_released_one(key: str, threshold: float) -> None:
    mask = lattice(G["image"])(G["cam"][None] > threshold)[0]
    # Equal to the pixel: 6 iterations, or another kernel, change only one to six of the 7,200.
    np.testing.assert_array_equal(mask, G[key].astype(bool))


def test_label_is_the_released_one() -> None:
    label = crf_label(G["image"], G["cam"])
    assert label.dtype == np.uint8
    assert set(np.unique(label)) == {0, 1, 255}
    np.testing.assert_array_equal(label, G["label"])


def test_label_joins_the_two_runs() -> None:
    build = partial(LatticeCRF, iterations=3, gt_prob=0.8)
    foreground, candidate = (build(G["image"])(G["cam"][None] > t)[0] for t in (0.5, 0.2))
    expected = np.where(foreground, 1, np.where(candidate, 255, 0))
    label = crf_label(G["image"], G["cam"], build, conf_fg=0.5, conf_bg=0.2)
    np.testing.assert_array_equal(label, expected)


@pytest.mark.parametrize(("build", "resolution"), [(lattice, 1.0), (lattice, 0.5), (exact, 0.5)])
def test_maps_of_one_image_are_independent(build: Any, resolution: float) -> None:
    cams = np.stack([G["cam"], np.flip(G["cam"], 0), G["cam"] ** 2, G["cam"]])
    together = crf_labels(G["image"], cams, build, resolution=resolution)
    alone = [crf_label(G["image"], cam, build, resolution=resolution) for cam in cams]
    np.testing.assert_array_equal(together, alone)


def test_a_read_only_image_is_accepted() -> None:
    image = G["image"].copy()
    image.flags.writeable = False  # as Pillow returns it
    np.testing.assert_array_equal(crf_label(image, G["cam"]), G["label"])


def test_a_uniform_response_has_no_boundary() -> None:
    assert (crf_label(G["image"], np.zeros((72, 100), np.float32)) == 0).all()
    assert (crf_label(G["image"], np.ones((72, 100), np.float32)) == 1).all()
    assert (crf_label(G["image"], np.full((72, 100), 0.2, np.float32)) == 255).all()


def test_labels_snap_to_the_colour_boundary() -> None:
    image = np.zeros((40, 60, 3), np.uint8)
    image[:, 30:] = 200
    cam = np.zeros((40, 60), np.float32)
    cam[:, 26:] = 1  # four columns left of the boundary
    np.testing.assert_array_equal(crf_label(image, cam), np.arange(60) >= 30 + np.zeros((40, 1)))


def test_missing_pydensecrf_names_the_fix(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pydensecrf", None)
    with pytest.raises(InputError, match="uv sync"):
        crf_label(G["image"], G["cam"])


def test_import_needs_neither_torch_nor_pydensecrf() -> None:
    code = "import sys, tris_core.crf.lattice; print({'torch', 'pydensecrf'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_wrong_image_is_refused() -> None:
    with pytest.raises(ValueError, match="uint8"):
        crf_label(G["image"].astype(np.float32), G["cam"])
    with pytest.raises(ValueError, match=r"\(72, 100, 3\)"):
        crf_label(G["image"], G["cam"][:, 1:])


def mean_field(image: np.ndarray, mask: np.ndarray, iterations: int, gt_prob: float) -> np.ndarray:
    """Log-odds (H, W) of the foreground in float64, from the kernels written out."""
    height, width = mask.shape
    y, x = (side.ravel().astype(np.float64) for side in np.mgrid[:height, :width])
    colour = image.reshape(-1, 3).astype(np.float64)
    places = (y[:, None] - y) ** 2 + (x[:, None] - x) ** 2
    colours = ((colour[:, None] - colour) ** 2).sum(2)
    kernels = 3 * normalised(np.exp(-places / (2 * 3**2)))
    kernels += 10 * normalised(np.exp(-places / (2 * 50**2) - colours / (2 * 5**2)))
    right = np.where(mask.ravel(), gt_prob, 1 - gt_prob)
    unary = np.log(np.stack([1 - right, right]))
    q = np.exp(unary)
    for _ in range(iterations):
        odds = unary + q @ kernels
        q = np.exp(odds - odds.max(0)) / np.exp(odds - odds.max(0)).sum(0)
    return (odds[1] - odds[0]).reshape(height, width)


def normalised(kernel: np.ndarray) -> np.ndarray:
    root = np.sqrt(kernel.sum(1))
    return kernel / root[:, None] / root


@pytest.mark.parametrize("shape", [(24, 31), (17, 16)])
def test_exact_filters_are_the_kernels(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (4, 4, 3), dtype=np.uint8).repeat(8, 0).repeat(8, 1)
    image = coarse[: shape[0], : shape[1]] // 4 + rng.integers(0, 9, (*shape, 3), dtype=np.uint8)
    masks = np.stack([rng.random(shape) < 0.3, np.indices(shape)[1] > 9])
    found = ExactCRF(image, iterations=4, gt_prob=0.7, device=CPU).odds(masks).numpy()
    for odds, mask in zip(found, masks, strict=True):
        expected = mean_field(image, mask, 4, 0.7)
        np.testing.assert_allclose(odds, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("threshold", [0.3, 0.1])
def test_exact_filters_agree_with_the_lattice(threshold: float) -> None:
    start = G["cam"][None] > threshold
    one, other = (build(G["image"])(start) for build in (lattice, exact))
    assert 0.05 < one.mean() < 0.95
    assert (one == other).mean() > 0.99


def test_filters_name_the_crf() -> None:
    assert isinstance(exact(G["image"]), ExactCRF)
    assert isinstance(lattice(G["image"]), LatticeCRF)
