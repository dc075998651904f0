"""Masks of the Segment Anything Model (Kirillov et al., ICCV 2023), prompted by response maps."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError

from tris_core.runtime.errors import InputError

if TYPE_CHECKING:
    from transformers import SamModel, SamProcessor


def load_sam(folder: Path) -> tuple[SamModel, SamProcessor]:
    """Load model and processor from a folder as transformers saves it.

    Nothing is downloaded, and only safetensors are read.

    Raises:
        InputError: if transformers is not installed, or the folder does not hold such a model.
    """
    try:
        from transformers import SamModel, SamProcessor
    except ImportError as error:
        fix = "install the extra: tris[sam]"
        raise InputError(f"refine.method: sam needs transformers; {fix}") from error
    for name in ("config.json", "model.safetensors", "preprocessor_config.json"):
        if not (folder / name).is_file():
            fix = "refine.sam_weights is the folder of a SAM as transformers saves it"
            raise InputError(f"{folder / name}: not found; {fix}")
    try:
        read: Any = SamModel.from_pretrained(
            folder, local_files_only=True, use_safetensors=True, output_loading_info=True
        )
        processor: SamProcessor = SamProcessor.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise InputError(f"{folder}: not a SAM that transformers can read ({error})") from error
    model, loading = read
    missing, unexpected = sorted(loading["missing_keys"]), sorted(loading["unexpected_keys"])
    if missing or unexpected:
        path = folder / "model.safetensors"
        wrong = f"missing {missing[:3]}, unexpected {unexpected[:3]}"
        raise InputError(f"{path}: not this SAM's weights; {wrong}")
    return model.eval(), processor


@torch.inference_mode()
def segment(
    model: SamModel,
    processor: SamProcessor,
    image: NDArray[np.uint8],
    maps: NDArray[np.float32],
    *,
    threshold: float,
) -> NDArray[np.bool_]:
    """Segment one image, which is encoded once, with the prompts of each of its maps.

    Of the three masks that SAM offers, the one with the highest predicted IoU is used.

    Args:
        image: (H, W, 3).
        maps: R maps (R, H, W) in [0, 1].
        threshold: see `prompts`.

    Returns:
        Masks (R, H, W); empty for a map that nowhere exceeds the threshold.
    """
    masks = np.zeros(maps.shape, bool)
    alive = np.flatnonzero((maps > threshold).any(axis=(1, 2)))
    if not len(alive):
        return masks
    points, boxes = zip(*(prompts(maps[row], threshold) for row in alive), strict=True)
    inputs = processor(
        image.copy(),
        input_points=[[[point] for point in points]],
        input_boxes=[list(boxes)],
        return_tensors="pt",
    ).to(model.device)
    found = model(**inputs)
    grown = processor.post_process_masks(
        found.pred_masks, inputs["original_sizes"], inputs["reshaped_input_sizes"]
    )[0]
    best = found.iou_scores[0].argmax(dim=1)
    masks[alive] = grown[torch.arange(len(alive)), best.cpu()].cpu().numpy()
    return masks


def prompts(response: NDArray[np.float32], threshold: float) -> tuple[list[float], list[float]]:
    """The point [x, y] of the largest value, and the box around all pixels above `threshold`.

    The box is [x1, y1, x2, y2] in pixels, with x2 and y2 exclusive.
    """
    y, x = np.unravel_index(response.argmax(), response.shape)
    rows, columns = np.nonzero(response > threshold)
    box = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    return [float(x), float(y)], [float(edge) for edge in box]
