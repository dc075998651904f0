"""Training of the boundary network: random crops of images and seeds, the losses, the mean displacement."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tris_core.crf.seeds import IGNORE, decode_label
from tris_core.data.images import read_image
from tris_core.data.transforms import normalise, to_tensor
from tris_core.irn.affinity import irn_losses
from tris_core.irn.backbone import backbone_taps, displacements
from tris_core.irn.network import IRN
from tris_core.irn.params import TrainIrnParams
from tris_core.runtime import distributed
from tris_core.runtime.device import pin
from tris_core.runtime.threads import ahead
from tris_core.training.loop import Losses
from tris_core.training.samples import epoch_order

PAD_COLOR = np.array([124, 116, 104], np.uint8)  # ImageNet's mean: zero once normalised


def random_crop(
    image: NDArray[np.uint8],
    label: NDArray[np.uint8],
    params: TrainIrnParams,
    rng: np.random.Generator,
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Rescale, mirror and cut a picture (H, W, 3) and its seeds (H, W) alike, to crop x crop.

    What lies outside the picture is mean colour, and ignored.
    """
    scale = rng.uniform(params.scale_min, params.scale_max)
    size = max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale))
    image = cv2.resize(image, size, interpolation=cv2.INTER_CUBIC).astype(np.uint8)
    label = cv2.resize(label, size, interpolation=cv2.INTER_NEAREST).astype(np.uint8)
    if rng.random() < 0.5:
        image, label = image[:, ::-1], label[:, ::-1]
    picture = np.tile(PAD_COLOR, (params.crop, params.crop, 1))
    seeds = np.full((params.crop, params.crop), IGNORE, np.uint8)
    source, target = zip(*(_window(side, params.crop, rng) for side in label.shape), strict=True)
    picture[target], seeds[target] = image[source], label[source]
    return picture, seeds


def _window(side: int, crop: int, rng: np.random.Generator) -> tuple[slice, slice]:
    """Along one axis: where to read in the picture, where to write in the crop."""
    length, offset = min(side, crop), int(rng.integers(abs(side - crop) + 1))
    return (
        (slice(offset, offset + length), slice(0, length))
        if side > crop
        else (slice(0, length), slice(offset, offset + length))
    )


def crop_losses(
    visual: nn.Module,
    irn: IRN,
    labels: pd.DataFrame,
    root: Path,
    params: TrainIrnParams,
    device: torch.device,
) -> Callable[[int], Losses]:
    """The function that `fit` calls, for this process's part. `labels` has path and label (PNG bytes), one row per ref."""
    pool = ThreadPoolExecutor(torch.get_num_threads())

    def crop(row: Any, rng: np.random.Generator) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        return random_crop(read_image(root / row.path), decode_label(row.label), params, rng)

    @ahead
    def read(step: int) -> tuple[Tensor, Tensor]:
        batch = batch_rows(labels, params, step)
        part = distributed.part(len(batch))
        draws = np.random.default_rng([params.seed, 1, step]).spawn(len(batch))[part]
        crops = list(pool.map(crop, labels.iloc[batch[part]].itertuples(), draws))
        pictures = to_tensor(np.stack([picture for picture, _ in crops]))
        seeds = torch.from_numpy(np.stack([seeds[2::4, 2::4] for _, seeds in crops]))
        return pin(pictures, device), pin(seeds, device)

    def losses(step: int) -> Losses:
        pictures, seeds = (part.to(device, non_blocking=True) for part in read(step))
        image = normalise(pictures)
        edge_logits, displacement = irn(backbone_taps(visual, image))
        return irn_losses(edge_logits, displacement, seeds, params.radius)

    return losses


def batch_rows(labels: pd.DataFrame, params: TrainIrnParams, step: int) -> NDArray[np.int64]:
    """Positions of the rows of `labels` that a step trains on: epochs are permutations."""
    per_epoch = max(1, len(labels) // params.batch)
    order = epoch_order(len(labels), params.seed, step // per_epoch)
    return order[step % per_epoch * params.batch :][: params.batch]


def sgd(irn: IRN, params: TrainIrnParams) -> torch.optim.SGD:
    """SGD in two groups: the boundary branch at `lr`, the displacement branch at ten times that."""
    named = list(irn.named_parameters())
    edge = [p for name, p in named if name.startswith("fc_edge")]
    displacement = [p for name, p in named if name.startswith("fc_dp")]
    groups = [{"params": edge, "lr": params.lr}, {"params": displacement, "lr": 10 * params.lr}]
    return torch.optim.SGD(groups, momentum=params.momentum, weight_decay=params.weight_decay)


def mean_displacement(
    visual: nn.Module, irn: IRN, paths: list[Path], device: torch.device
) -> Tensor:
    """Mean displacement (2,) over images, in eval mode: what the network subtracts from then on. Zeros but on rank 0."""
    irn.eval()

    def of_one(path: Path) -> Tensor:
        image = normalise(to_tensor(read_image(path))[None].to(device))[0]
        return displacements(visual, irn, image).mean((1, 2)).cpu()

    means = list(distributed.map_over_ranks(paths, of_one))
    return torch.stack(means).mean(0) if means else torch.zeros(2)
