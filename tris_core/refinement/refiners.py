"""Refiners, chosen by refine.method: from an image and the selected response maps of its refs to their pseudo-labels."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from tris_core.clip.sources import load_clip
from tris_core.crf.dense_crf import BinaryCRF
from tris_core.data.transforms import normalise, to_tensor
from tris_core.irn.backbone import boundaries, freeze_at_stride_16
from tris_core.irn.network import build_irn
from tris_core.refinement.instances import refine_maps
from tris_core.refinement.params import RefineParams
from tris_core.refinement.sam import load_sam, segment
from tris_core.runtime.device import place
from tris_core.weights.configs import IrnConfig
from tris_core.weights.model_folder import load_model

Refiner = Callable[[NDArray[np.uint8], NDArray[np.float32]], NDArray[np.bool_]]
"""An image (H, W, 3) and its maps (R, H, W), each divided by its maximum (all 0 without response), to masks (R, H, W)."""


def threshold(params: RefineParams, device: torch.device, irn: Path) -> Refiner:
    return lambda image, maps: maps > params.threshold


def crf(params: RefineParams, device: torch.device, irn: Path) -> Refiner:
    def refine(image: NDArray[np.uint8], maps: NDArray[np.float32]) -> NDArray[np.bool_]:
        field = BinaryCRF(image)
        return np.stack(
            [field(start, **params.crf.model_dump()) for start in maps > params.threshold]
        )

    return refine


def walk(params: RefineParams, device: torch.device, irn: Path) -> Refiner:
    network, config = load_model(irn, IrnConfig, build_irn)
    place(network.eval(), device)
    visual = place(freeze_at_stride_16(load_clip(config.clip).visual), device)
    settings = params.model_dump(include={"radius", "beta", "exp_times"})

    def refine(image: NDArray[np.uint8], maps: NDArray[np.float32]) -> NDArray[np.bool_]:
        edge, displacement = boundaries(
            visual, network, normalise(to_tensor(image)[None].to(device))[0]
        )
        walked = refine_maps(torch.from_numpy(maps).to(device), edge, displacement, **settings)
        return (walked > params.threshold).cpu().numpy()

    return refine


def sam(params: RefineParams, device: torch.device, irn: Path) -> Refiner:
    assert params.sam_weights is not None  # RefineParams sees to it
    model, processor = load_sam(Path(params.sam_weights))
    place(model, device)
    return lambda image, maps: segment(model, processor, image, maps, threshold=params.threshold)


REFINERS: dict[str, Callable[[RefineParams, torch.device, Path], Refiner]] = {
    "threshold": threshold,
    "crf": crf,
    "irn": walk,
    "sam": sam,
}
"""Builders by method: of the parameters, the device and the folder of the trained boundary network, which `irn` alone reads."""
