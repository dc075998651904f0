"""CRF labels: released numbers, their combination rule, and what the module needs."""

import subprocess
import sys

import numpy as np
import pytest

from tests.golden.reference import golden
from tris_core.crf.dense_crf import BinaryCRF
from tris_core.crf.seeds import crf_labels
from tris_core.runtime.errors import InputError

G = golden("crf_label")


def crf_label(image: np.ndarray, cam: np.ndarray, **options: float) -> np.ndarray:
    """Of a single map."""
    return crf_labels(image, cam[None], **options)[0]


@pytest.mark.parametrize(("key", "threshold"), [("fg", 0.3), ("bg", 0.1)])
def test_one_run_is_the_released_one(key: str, threshold: float) -> None:
    mask = BinaryCRF(G["image"])(G["cam"] > threshold, iterations=10, gt_prob=0.7)
    # Equal to the pixel: 6 iterations, or another kernel, change only one to six of the 7,200.
    np.testing.assert_array_equal(mask, G[key].astype(bool))


def test_label_is_the_released_one() -> None:
    label = crf_label(G["image"], G["cam"])
    assert label.dtype == np.uint8
    assert set(np.unique(label)) == {0, 1, 255}
    np.testing.assert_array_equal(label, G["label"])


def test_label_joins_the_two_runs() -> None:
    foreground = BinaryCRF(G["image"])(G["cam"] > 0.5, iterations=3, gt_prob=0.8)
    candidate = BinaryCRF(G["image"])(G["cam"] > 0.2, iterations=3, gt_prob=0.8)
    expected = np.where(foreground, 1, np.where(candidate, 255, 0))
    label = crf_label(G["image"], G["cam"], conf_fg=0.5, conf_bg=0.2, iterations=3, gt_prob=0.8)
    np.testing.assert_array_equal(label, expected)


@pytest.mark.parametrize("resolution", [1.0, 0.5])
def test_maps_of_one_image_are_independent(resolution: float) -> None:
    cams = np.stack([G["cam"], np.flip(G["cam"], 0), G["cam"] ** 2, G["cam"]])
    together = crf_labels(G["image"], cams, resolution=resolution)
    alone = [crf_label(G["image"], cam, resolution=resolution) for cam in cams]
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
    code = "import sys, tris_core.crf.dense_crf; print({'torch', 'pydensecrf'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_wrong_image_is_refused() -> None:
    with pytest.raises(ValueError, match="uint8"):
        crf_label(G["image"].astype(np.float32), G["cam"])
    with pytest.raises(ValueError, match=r"\(72, 100, 3\)"):
        crf_label(G["image"], G["cam"][:, 1:])
