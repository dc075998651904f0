"""Memory of a training at the size of presets/paper.yaml, without running it.

From tensors without values on a GPU that is not there: weights, gradients and optimizer, and what
the forward pass keeps for the backward pass. A CPU's step is then run in a process of its own, and
the rise of its peak compared. The estimate leaves out what lives for one operation.
"""

import multiprocessing
from concurrent.futures import ProcessPoolExecutor

import torch
from torch import Tensor, nn

from benchmarks._fake import CUDA, fake_gpu
from benchmarks._measure import Row, show
from benchmarks._networks import Networks, Training
from tris_core.clip.recompute import recompute_blocks
from tris_core.runtime.processes import peak_memory

NAMES = ("step1", "step2", "irn")
STATES = {torch.optim.AdamW: 2, torch.optim.SGD: 1}  # tensors per weight in an optimizer


def main() -> None:
    show([estimated(name, recompute) for name in NAMES for recompute in (False, True)])
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn, max_tasks_per_child=1) as pool:
        show(list(pool.map(measured, NAMES)))


def estimated(name: str, recompute: bool) -> Row:
    """GB of a training step, from a forward pass of tensors without values."""
    networks = Networks("paper", CUDA)
    with fake_gpu():
        training = made(networks, name, recompute)
        batch = training.batch(0)
        weights: dict[int, int] = {}
        for network in networks_of(training):
            for x in (*network.parameters(), *network.buffers()):
                weights[x.untyped_storage()._cdata] = x.untyped_storage().nbytes()
        kept: dict[int, int] = {}

        def keep(x: Tensor) -> Tensor:
            storage = x.untyped_storage()
            if storage._cdata not in weights:
                kept[storage._cdata] = storage.nbytes()
            return x

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
            losses = training.objective(batch)
        trained = sum(p.numel() * p.element_size() for p in training.trained())
        states = STATES[type(training.optimizer)]
        fixed, activations = sum(weights.values()) + (1 + states) * trained, sum(kept.values())
        del losses
    return {
        "name": f"{name}, {'recompute' if recompute else 'plain'}",
        "weights, gradients, optimizer GB": fixed / 1e9,
        "kept for backward GB": activations / 1e9,
        "together GB": (fixed + activations) / 1e9,
    }


def measured(name: str) -> Row:
    """GB by which a step raises the peak of a process on a CPU, plain."""
    before = peak_memory()
    training = made(Networks("paper", torch.device("cpu")), name, False)
    training.step(training.batch(0))
    return {"name": f"{name} on the CPU", "peak GB": peak_memory() - before}


def made(networks: Networks, name: str, recompute: bool) -> Training:
    training: Training = getattr(networks, f"{name}_training")()
    if recompute:
        for network in networks_of(training):
            recompute_blocks(network)
    return training


def networks_of(training: Training) -> list[nn.Module]:
    """The trained network, and the scorer's CLIP."""
    scorer = getattr(training.objective, "scorer", None)
    return [training.objective, *([] if scorer is None else [scorer.clip])]
