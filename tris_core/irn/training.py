"""Training of the boundary network: crops of images and CRF seeds, losses, mean displacement."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tris_core.crf.seeds import IGNORE, decode_label
from tris_core.data.grouping import Rows
from tris_core.data.images import read_image
from tris_core.data.transforms import MEAN_COLOUR, normalise
from tris_core.irn.affinity import irn_losses
from tris_core.irn.backbone import backbone_taps, displacements
from tris_core.irn.network import IRN
from tris_core.irn.params import TrainIrnParams
from tris_core.runtime import distributed
from tris_core.training.samples import epoch_order
from tris_core.training.task import Batch, Losses

Crop = tuple[NDArray[np.uint8], NDArray[np.uint8]]


@dataclass(frozen=True)
class CropBatch(Batch):
    """A rank's part of a step.

    Attributes:
        pictures: Crops of images, (B, crop, crop, 3) uint8.
        seeds: Their CRF seeds at stride 4, (B, crop / 4, crop / 4) of 0, 1 and 255.
    """

    pictures: Tensor
    seeds: Tensor


class CropBatches:
    """Draws the batch of any step. Epochs are permutations of the refs."""

    def __init__(
        self, seeds: pd.DataFrame, root: Path, params: TrainIrnParams, device: torch.device
    ) -> None:
        """`seeds` has a row per ref: ref_id, path of the image under `root`, label (PNG bytes)."""
        self._seeds, self._root, self._params, self._device = seeds, root, params, device
        self._pool = ThreadPoolExecutor(  # each with one core, which OpenCV has to be told
            torch.get_num_threads(), initializer=cv2.setNumThreads, initargs=(1,)
        )
        self._steps_per_epoch = max(1, len(seeds) // params.batch)

    def __call__(self, step: int) -> CropBatch:
        rows = self.rows(step)
        part = distributed.part(len(rows))
        draws = np.random.default_rng([self._params.seed, 1, step]).spawn(len(rows))[part]
        crops = list(self._pool.map(self._crop, self._seeds.iloc[rows[part]].itertuples(), draws))
        made = CropBatch(
            pictures=torch.from_numpy(np.stack([picture for picture, _ in crops])),
            seeds=torch.from_numpy(np.stack([seeds[2::4, 2::4] for _, seeds in crops])),
        )
        return made.pin(self._device)

    @property
    def steps(self) -> int:
        """Length of the training in batches."""
        return self._params.epochs * self._steps_per_epoch

    def rows(self, step: int) -> Rows:
        """Rows of `seeds` that a step trains on. Epochs leave out an incomplete last batch."""
        order = epoch_order(len(self._seeds), self._params.seed, step // self._steps_per_epoch)
        first = step % self._steps_per_epoch * self._params.batch
        return order[first : first + self._params.batch]

    def describe(self, step: int) -> str:
        ids = self._seeds["ref_id"].iloc[self.rows(step)]
        return f"ref_id {', '.join(map(str, ids))}"

    def _crop(self, row: Any, rng: np.random.Generator) -> Crop:
        image = read_image(self._root / row.path)
        return random_crop(image, decode_label(row.label), self._params, rng)


def random_crop(
    image: NDArray[np.uint8],
    label: NDArray[np.uint8],
    params: TrainIrnParams,
    rng: np.random.Generator,
) -> Crop:
    """Rescale, mirror and crop an image (H, W, 3) and its seeds (H, W) alike.

    Returns both at `params.crop` pixels a side. Outside the image, the colour is the mean and
    seeds are ignored.
    """
    scale = rng.uniform(params.scale_min, params.scale_max)
    size = max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale))
    image = cv2.resize(image, size, interpolation=cv2.INTER_CUBIC).astype(np.uint8)
    label = cv2.resize(label, size, interpolation=cv2.INTER_NEAREST).astype(np.uint8)
    if rng.random() < 0.5:
        image, label = image[:, ::-1], label[:, ::-1]
    picture = np.tile(MEAN_COLOUR, (params.crop, params.crop, 1))
    seeds = np.full((params.crop, params.crop), IGNORE, np.uint8)
    source, target = zip(*(_window(side, params.crop, rng) for side in label.shape), strict=True)
    picture[target], seeds[target] = image[source], label[source]
    return picture, seeds


def _window(side: int, crop: int, rng: np.random.Generator) -> tuple[slice, slice]:
    """Along one axis: where to read in the image, and where to write in the crop."""
    length, offset = min(side, crop), int(rng.integers(abs(side - crop) + 1))
    shifted, whole = slice(offset, offset + length), slice(0, length)
    return (shifted, whole) if side > crop else (whole, shifted)


class IrnObjective(nn.Module):
    """The losses of a batch, see `irn_losses`."""

    def __init__(self, visual: nn.Module, irn: IRN, radius: int, device: torch.device) -> None:
        """
        Args:
            visual: The frozen image tower, see `freeze_at_stride_16`.
            irn: The network to train.
            radius: Pairs of pixels within it are compared, in cells of stride 4.
            device: Where both networks are.
        """
        super().__init__()
        self.visual, self.irn = visual, irn
        self.radius, self.device = radius, device

    def forward(self, batch: CropBatch) -> Losses:
        batch = batch.to(self.device)
        taps = backbone_taps(self.visual, normalise(batch.pictures))
        edge_logits, displacement = self.irn(taps)
        return irn_losses(edge_logits, displacement, batch.seeds, self.radius)


def sgd(irn: IRN, params: TrainIrnParams) -> torch.optim.SGD:
    """SGD in two groups: the boundary branch at `lr`, the displacement branch at `10 * lr`."""
    named = list(irn.named_parameters())
    edge = [p for name, p in named if name.startswith("fc_edge")]
    displacement = [p for name, p in named if name.startswith("fc_dp")]
    groups = [{"params": edge, "lr": params.lr}, {"params": displacement, "lr": 10 * params.lr}]
    return torch.optim.SGD(groups, momentum=params.momentum, weight_decay=params.weight_decay)


def mean_displacement(
    visual: nn.Module, irn: IRN, paths: list[Path], device: torch.device
) -> Tensor:
    """Mean displacement (2,) over images, in eval mode. Zeros except on rank 0."""
    irn.eval()
    means = list(
        distributed.map_over_ranks(paths, partial(_mean_displacement, visual, irn, device))
    )
    return torch.stack(means).mean(0) if means else torch.zeros(2)


def _mean_displacement(visual: nn.Module, irn: IRN, device: torch.device, path: Path) -> Tensor:
    image = normalise(torch.tensor(read_image(path))[None].to(device))
    return displacements(visual, irn, image)[0].mean((1, 2)).cpu()
