"""Step-2 training (Sec. 3.4): pseudo-labels as targets, a random sentence of the object as text."""

from collections.abc import Callable

import cv2
import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from tris_core.data.packed import PackedImages
from tris_core.data.rle import decode
from tris_core.data.transforms import normalise
from tris_core.runtime import distributed
from tris_core.runtime.device import autocast, pin
from tris_core.runtime.threads import ahead
from tris_core.step2.network import Step2, deep_supervision_losses
from tris_core.step2.params import TrainStep2Params
from tris_core.training.loop import Losses
from tris_core.training.samples import Rows, TrainingRefs


def target(label: "pd.Series", size: int) -> NDArray[np.float32]:
    """A pseudo-label (counts, height, width) at training size, (size, size) of 0 and 1, nearest neighbour (D39)."""
    mask = decode(label["counts"], label["height"], label["width"]).astype(np.float32)
    return np.asarray(cv2.resize(mask, (size, size), interpolation=cv2.INTER_NEAREST), np.float32)


def running_average(model: Step2) -> AveragedModel:
    """A running average of the model's weights: what is new weighs n^(-2/3) at the n-th update, and 1e-4 at least."""
    return AveragedModel(
        model,
        avg_fn=lambda average, new, n: new + min(0.9999, 1 - (1 + n) ** (-2 / 3)) * (average - new),
    )


def step2_losses(
    model: Step2,
    average: AveragedModel | None,
    images: PackedImages,
    refs: TrainingRefs,
    labels: pd.DataFrame,
    tokens: Tensor,
    params: TrainStep2Params,
    device: torch.device,
) -> Callable[[int], Losses]:
    """The function that `fit` calls: step -> {total, head1 .. head4}, of this process's part. `labels` is indexed by ref_id.

    With `average` also `ema`, the released consistency term (D46): the mean squared distance of all four heads' probabilities
    to those of the running average, which is updated every ten steps from the hundredth on.
    """

    @ahead
    def read(step: int) -> tuple[Tensor, Rows, Tensor]:
        rng = np.random.default_rng([params.seed, 1, step])
        batch = refs.batch(step, params.batch, params.seed)
        part = distributed.part(len(batch))
        text, batch = refs.draw_text(batch, rng)[part], batch[part]
        masks = np.stack(
            [target(labels.loc[ref_id], images.size) for ref_id in refs.ref_id[batch]]
        )[:, None]
        return pin(images[refs.image[batch]], device), text, pin(torch.from_numpy(masks), device)

    def losses(step: int) -> Losses:
        if average is not None and step >= 100 and step % 10 == 0:
            average.update_parameters(model)
        squares, text, masks = read(step)
        image = normalise(squares.to(device, non_blocking=True))
        with autocast(device, params.precision):
            logits = model(image, tokens[text].to(device))
            with torch.no_grad():
                steady = [] if average is None else average(image, tokens[text].to(device))
        heads = deep_supervision_losses(
            [logit.float() for logit in logits], masks.to(device, non_blocking=True)
        )
        total = sum(
            (w * loss for w, loss in zip(params.head_weights, heads, strict=True)),
            torch.zeros((), device=device),
        )
        parts = {f"head{i}": loss for i, loss in enumerate(heads, start=1)}
        if average is not None:
            pairs = zip(logits, steady, strict=True)
            parts["ema"] = torch.stack(
                [F.mse_loss(a.float().sigmoid(), b.float().sigmoid()) for a, b in pairs]
            ).sum()
            total = total + parts["ema"]
        return {"total": total, **parts}

    return losses
