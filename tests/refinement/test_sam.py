"""SAM as a refiner: a tiny model with random weights, saved and loaded by transformers."""

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.support.tiny_sam import SIZE, transformers, write_sam
from tris_core.refinement.sam import load_sam, prompts, segment
from tris_core.runtime.errors import InputError


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sam(tmp_path_factory.mktemp("sam"))


def test_prompts_are_the_peak_and_the_box_around_the_response() -> None:
    response = np.zeros((5, 8), np.float32)
    response[1:4, 2:6] = 0.4
    response[2, 5] = 1.0
    assert prompts(response, 0.3) == ([5.0, 2.0], [2.0, 1.0, 6.0, 4.0])
    assert prompts(response, 0.5) == ([5.0, 2.0], [5.0, 2.0, 6.0, 3.0])


def test_masks_are_those_of_each_map_alone(folder: Path) -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (40, 60, 3), np.uint8)
    maps = np.zeros((3, 40, 60), np.float32)
    maps[0, 5:15, 5:20], maps[0, 10, 10] = 0.6, 1
    maps[2, 20:38, 30:58], maps[2, 30, 40] = 0.6, 1
    model, processor = load_sam(folder)
    masks = segment(model, processor, image, maps, threshold=0.5)
    assert masks.shape == maps.shape
    assert masks.dtype == bool
    assert not masks[1].any(), "a map without response has no prompt"
    for row in (0, 2):
        (alone,) = segment(model, processor, image, maps[row : row + 1], threshold=0.5)
        assert np.array_equal(masks[row], alone)
        assert np.array_equal(masks[row], by_hand(model, processor, image, maps[row]))
    assert 0 < masks[0].mean() < 1


@torch.no_grad()
def by_hand(
    model: transformers.SamModel,
    processor: transformers.SamProcessor,
    image: np.ndarray,
    response: np.ndarray,
) -> np.ndarray:
    """The best of the three masks, from the parts of the model.

    Prompts are scaled, and the mask is resized to the image bilinearly.
    """
    point, box = prompts(response, 0.5)
    height, width = (round(side * SIZE / max(image.shape[:2])) for side in image.shape[:2])
    scale = torch.tensor([width / image.shape[1], height / image.shape[0]])
    pixels = processor.image_processor(image, return_tensors="pt")["pixel_values"]
    out = model(
        image_embeddings=model.get_image_embeddings(pixels),
        input_points=torch.tensor(point)[None, None, None] * scale,
        input_labels=torch.ones(1, 1, 1, dtype=torch.int64),
        input_boxes=torch.tensor(box)[None, None] * scale.repeat(2),
    )
    best = out.pred_masks[0, 0, out.iou_scores[0, 0].argmax()]
    grown = torch.nn.functional.interpolate(best[None, None], (SIZE, SIZE), mode="bilinear")
    return (
        torch.nn.functional.interpolate(
            grown[..., :height, :width], image.shape[:2], mode="bilinear"
        )[0, 0]
        > 0
    ).numpy()


def test_a_folder_without_a_sam_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"config\.json: not found; refine\.sam_weights is the folder"
    ):
        load_sam(tmp_path)
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "model.safetensors").write_bytes(b"no tensors")
    with pytest.raises(InputError, match="not a SAM that transformers can read"):
        load_sam(tmp_path)
