"""Refiners: from an image and the selected maps of its refs to pseudo-labels.

`REFINERS` has one for every refine.method.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from tris_core.crf.filters import crf_builder
from tris_core.data.transforms import normalise
from tris_core.irn.backbone import boundaries, load_backbone
from tris_core.irn.network import IRN, build_irn
from tris_core.refinement.instances import instance_maps, refine_maps
from tris_core.refinement.params import RefineParams
from tris_core.refinement.sam import load_sam, segment
from tris_core.runtime.device import place
from tris_core.weights.configs import IrnConfig
from tris_core.weights.model_folder import load_model

Image = NDArray[np.uint8]
Maps = NDArray[np.float32]
Masks = NDArray[np.bool_]
Refiner = Callable[[list[Image], list[Maps]], list[Masks]]
"""From images (H, W, 3) of one size and R maps (R, H, W) of each to masks (R, H, W).

The maps are divided by their maxima; a map without response is 0 everywhere.
"""


def one_by_one(refine: Callable[[Image, Maps], Masks]) -> Refiner:
    return lambda images, maps: [refine(*pair) for pair in zip(images, maps, strict=True)]


def threshold(params: RefineParams, device: torch.device, irn: Path) -> Refiner:
    return one_by_one(lambda _, maps: maps > params.threshold)


def crf(params: RefineParams, device: torch.device, irn: Path) -> Refiner:
    build = crf_builder(**params.crf.model_dump(), device=device)
    return one_by_one(lambda image, maps: build(image)(maps > params.threshold))


def walk(params: RefineParams, device: torch.device, irn: Path) -> Refiner:
    network, config = load_model(irn, IrnConfig, build_irn)
    place(network.eval(), device)
    visual = place(load_backbone(config), device)
    return Walk(visual, network, params, device)


@dataclass(frozen=True)
class Walk:
    """A random walk along the boundaries that IRN finds in an image."""

    visual: nn.Module
    network: IRN
    params: RefineParams
    device: torch.device

    def __call__(self, images: list[Image], maps: list[Maps]) -> list[Masks]:
        pixels = normalise(torch.tensor(np.stack(images)).to(self.device))
        edges, displacements = boundaries(self.visual, self.network, pixels)
        settings = self.params.model_dump(include={"radius", "beta", "exp_times"})
        masks = []
        for each, edge, instances in zip(maps, edges, instance_maps(displacements), strict=True):
            cams = torch.from_numpy(each).to(self.device)
            walked = refine_maps(cams, edge, instances, **settings)
            masks.append((walked > self.params.threshold).cpu().numpy())
        return masks


def sam(params: RefineParams, device: torch.device, irn: Path) -> Refiner:
    assert params.sam_weights is not None  # RefineParams checks it
    model, processor = load_sam(Path(params.sam_weights))
    place(model, device)
    return one_by_one(partial(segment, model, processor, threshold=params.threshold))


REFINERS: dict[str, Callable[[RefineParams, torch.device, Path], Refiner]] = {
    "threshold": threshold,
    "crf": crf,
    "irn": walk,
    "sam": sam,
}
"""Builders by method. They take the parameters, the device, and the folder of the trained IRN."""
