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
from tris_core.refinement.instances import refine_maps
from tris_core.refinement.params import RefineParams
from tris_core.refinement.sam import load_sam, segment
from tris_core.runtime.device import place
from tris_core.weights.configs import IrnConfig
from tris_core.weights.model_folder import load_model

Image = NDArray[np.uint8]
Maps = NDArray[np.float32]
Masks = NDArray[np.bool_]
Refiner = Callable[[Image, Maps], Masks]
"""From an image (H, W, 3) and R maps (R, H, W) to masks (R, H, W).

The maps are divided by their maxima; a map without response is 0 everywhere.
"""


def threshold(params: RefineParams, device: torch.device, irn: Path) -> Refiner:
    return partial(_over, threshold=params.threshold)


def _over(image: Image, maps: Maps, *, threshold: float) -> Masks:
    return maps > threshold


def crf(params: RefineParams, device: torch.device, irn: Path) -> Refiner:
    build = crf_builder(**params.crf.model_dump(), device=device)
    return lambda image, maps: build(image)(maps > params.threshold)


def walk(params: RefineParams, device: torch.device, irn: Path) -> Refiner:
    network, config = load_model(irn, IrnConfig, build_irn)
    place(network.eval(), device)
    visual = place(load_backbone(config), device)
    return Walk(visual, network, params, device)


@dataclass(frozen=True)
class Walk:
    """A random walk along the boundaries that IRN finds in the image."""

    visual: nn.Module
    network: IRN
    params: RefineParams
    device: torch.device

    def __call__(self, image: Image, maps: Maps) -> Masks:
        pixels = normalise(torch.tensor(image)[None].to(self.device))[0]
        edge, displacement = boundaries(self.visual, self.network, pixels)
        settings = self.params.model_dump(include={"radius", "beta", "exp_times"})
        cams = torch.from_numpy(maps).to(self.device)
        walked = refine_maps(cams, edge, displacement, **settings)
        return (walked > self.params.threshold).cpu().numpy()


def sam(params: RefineParams, device: torch.device, irn: Path) -> Refiner:
    assert params.sam_weights is not None  # RefineParams checks it
    model, processor = load_sam(Path(params.sam_weights))
    place(model, device)
    return partial(segment, model, processor, threshold=params.threshold)


REFINERS: dict[str, Callable[[RefineParams, torch.device, Path], Refiner]] = {
    "threshold": threshold,
    "crf": crf,
    "irn": walk,
    "sam": sam,
}
"""Builders by method. They take the parameters, the device, and the folder of the trained IRN."""
