"""A training step of the boundary network as released: RN50 frozen at stride 16, 24 crops of 512 px (4 on a CPU)."""

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import _inputs
from benchmarks._measure import ROOT, device, matmul_rate, row, seconds, show
from tris_core.irn.affinity import irn_losses
from tris_core.irn.backbone import backbone_taps, freeze_at_stride_16
from tris_core.irn.network import IRN
from tris_core.irn.params import TrainIrnParams
from tris_core.irn.training import sgd
from tris_core.runtime.device import place
from tris_core.runtime.params import read_params
from tris_core.runtime.processes import keep_freed_memory
from tris_core.training.loop import Losses


def main() -> None:
    keep_freed_memory()
    torch.manual_seed(0)
    params = read_params(ROOT / "presets" / "paper.yaml")[TrainIrnParams]
    batch = params.batch if device().type == "cuda" else 4
    visual = place(freeze_at_stride_16(_inputs.clip("RN50-quickgelu").visual), device())
    irn = place(IRN(channels=(64, 256, 512, 1024, 2048)).train(), device())
    image = torch.randn(batch, 3, params.crop, params.crop, device=device())
    side = params.crop // 4
    label = (
        torch.randint(0, 2, (batch, side // 8, side // 8), device=device())
        .repeat_interleave(8, 1)
        .repeat_interleave(8, 2)
    )

    def losses(step: int) -> Losses:
        edge_logits, displacement = irn(backbone_taps(visual, image))
        return irn_losses(edge_logits, displacement, label, params.radius)

    step = _inputs.training_step(sgd(irn, params), losses)
    with FlopCounterMode(display=False) as counted:
        step()
    spent = seconds(step, repeats=2, warm_up=False)
    floor = counted.get_total_flops() / matmul_rate()
    show(
        [
            row(
                f"irn {batch} crops of {params.crop}",
                spent,
                floor=floor,
                crops_per_second=batch / spent,
                device=str(device()),
            )
        ]
    )
