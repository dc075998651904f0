"""A training step of the boundary network at the released size.

CLIP's RN50 (`train_irn.backbone: clip`) frozen at stride 16, 24 crops of 512 px (4 on a CPU).
"""

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import _inputs
from benchmarks._measure import ROOT, device, matmul_rate, row, seconds, show
from benchmarks._networks import Networks, random_crops
from tris_core.irn.backbone import freeze_at_stride_16
from tris_core.irn.network import IRN
from tris_core.irn.params import TrainIrnParams
from tris_core.irn.training import IrnObjective, sgd
from tris_core.runtime.device import place
from tris_core.runtime.params import read_params
from tris_core.runtime.processes import keep_freed_memory


def main() -> None:
    keep_freed_memory()
    torch.manual_seed(0)
    params = read_params(ROOT / "presets" / "paper.yaml")[TrainIrnParams]
    batch = params.batch if device().type == "cuda" else 4
    visual = place(freeze_at_stride_16(Networks("paper", device()).clip().visual), device())
    irn = place(IRN(channels=(64, 256, 512, 1024, 2048)).train(), device())
    crops = random_crops(batch, params.crop)
    losses = IrnObjective(visual, irn, params.radius, device())
    step = _inputs.TrainingStep(sgd(irn, params), lambda step: crops, losses)
    with FlopCounterMode(display=False) as counted:
        step()
    spent = seconds(step, repeats=2, warm_up=False)
    floor = counted.get_total_flops() / matmul_rate()
    name, rate = f"irn {batch} crops of {params.crop}", batch / spent
    show([row(name, spent, floor=floor, crops_per_second=rate, device=str(device()))])
