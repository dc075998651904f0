"""A training step of Step-2 as in the paper: RN50, batch 48, 320 px.

The floor is the time of its arithmetic at the rate of a matrix product.
"""

from typing import Any

import numpy as np
import pandas as pd
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import _inputs
from benchmarks._measure import ROOT, device, matmul_rate, row, seconds, show
from benchmarks._networks import Networks
from tris_core.data.rle import encode
from tris_core.runtime.params import read_params
from tris_core.runtime.processes import keep_freed_memory
from tris_core.step2.params import TrainStep2Params
from tris_core.step2.training import Step2Batches, Step2Objective, TrainingLabels
from tris_core.training.optimizers import adamw

SIZE, HEIGHT, WIDTH = 320, 480, 640


def main() -> None:
    keep_freed_memory()
    torch.manual_seed(0)
    precision = "bf16" if device().type == "cuda" else "fp32"
    params = read_params(ROOT / "presets" / "paper.yaml")[TrainStep2Params].model_copy(
        update={"precision": precision}
    )
    networks, refs = Networks("paper", device()), _inputs.refs(4 * params.batch)
    tokens = networks.sentences(int(refs.count.sum()))
    mask = np.zeros((HEIGHT, WIDTH), dtype=bool)
    mask[100:300, 200:400] = True
    labels = pd.DataFrame({"counts": [encode(mask)] * len(refs), "height": HEIGHT, "width": WIDTH})
    model = networks.step2().train()
    images: Any = _inputs.Pictures(SIZE)
    batches = Step2Batches(images, refs, TrainingLabels(labels, SIZE), tokens, params, device())
    losses = Step2Objective(model, None, params, device())
    optimizer = adamw(model, params, full_rate="positional_embedding")
    step = _inputs.TrainingStep(optimizer, batches, losses)
    with FlopCounterMode(display=False) as counted:
        step()
    spent = seconds(step, repeats=2, warm_up=False)
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    floor = counted.get_total_flops() / matmul_rate(dtype)
    name, rate = f"step2 batch {params.batch} {precision}", params.batch / spent
    show([row(name, spent, floor=floor, images_per_second=rate, device=str(device()))])
