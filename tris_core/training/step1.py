"""Step-1 training (Sec. 3.3): the batch of a step, its losses, and the optimizer's groups."""

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from open_clip.model import CLIP
from torch import Tensor

from tris_core import distributed
from tris_core.data.packed import PackedImages
from tris_core.data.samples import CalibrationNegatives, Rows, TrainingRefs
from tris_core.images import normalise
from tris_core.losses import classification_loss, image_level_score, masked_image, negative_term, positive_term
from tris_core.models.clip import encode_words, sentence_feature
from tris_core.models.step1 import Step1
from tris_core.params.train_step1 import TrainStep1Params
from tris_core.threads import ahead
from tris_core.training.engine import Losses, autocast, pin

TABLE_BYTES = 4_000_000_000  # two million sentences of 512 float32


class SentenceFeatures:
    """The scorer's unit features of sentences, by their rows in the table of expressions.

    The scorer is frozen, so every sentence is encoded once and kept, as long as the table of all (L, E) takes at most
    `budget` bytes of the device's memory. Beyond it, rows are encoded each time they are asked for.
    """

    def __init__(self, scorer: CLIP, tokens: Tensor, device: torch.device, *, budget: int = TABLE_BYTES) -> None:
        """`tokens` (L, T) are the scorer's token ids; `scorer` is on `device`."""
        self._scorer, self._tokens, self._device = scorer, tokens, device
        width = scorer.text_projection.shape[1]
        self._bytes = 4 * len(tokens) * width
        self._table = self._encode_all(width) if self._bytes <= budget else None

    def __getitem__(self, rows: NDArray[np.int64]) -> Tensor:
        """Features (..., E) float32 on the device, of rows (...)."""
        if self._table is not None:
            return self._table[rows]
        made = self._encode(self._tokens[rows.reshape(-1)])
        return made.view(*rows.shape, -1)

    def describe(self) -> str:
        """What the features take: "142000 sentences encoded once, a table of 291 MB"."""
        megabytes = f"{self._bytes / 1e6:.0f} MB"
        if self._table is not None:
            return f"{len(self._tokens)} sentences encoded once, a table of {megabytes}"
        return f"{len(self._tokens)} sentences encoded at each use, their table would take {megabytes}"

    @torch.no_grad()
    def _encode(self, tokens: Tensor) -> Tensor:
        tokens = tokens.to(self._device)
        return F.normalize(sentence_feature(self._scorer, encode_words(self._scorer, tokens), tokens), dim=1)

    def _encode_all(self, width: int, batch: int = 512) -> Tensor:
        table = torch.empty(len(self._tokens), width, device=self._device)
        for part, tokens in zip(table.split(batch), self._tokens.split(batch), strict=True):
            part.copy_(self._encode(tokens))
        return table


def step1_losses(
    model: Step1,
    scorer: CLIP,
    scorer_size: int,
    images: PackedImages,
    refs: TrainingRefs,
    tokens: Tensor,
    sentences: SentenceFeatures,
    params: TrainStep1Params,
    device: torch.device,
) -> Callable[[int], Losses]:
    """The function that `fit` calls: step -> {cls, pos, neg, total}, of this process's part of the batch.

    `tokens` (L, T) and `sentences` are rows of the expressions table.
    """
    negatives = CalibrationNegatives(refs, params.cal_negatives.k, params.cal_negatives.fill)
    weights = params.loss

    @ahead
    def read(step: int) -> tuple[Tensor, Rows, Rows, Rows, Tensor, Tensor, Tensor]:
        rng = np.random.default_rng([params.seed, 1, step])
        batch = refs.batch(step, params.batch, params.seed)
        text = refs.draw_text(batch, rng)
        fillers = negatives.draw(batch, rng)
        pool, columns, positive, counted = classification_columns(refs, batch, params, rng)
        drawn = refs.draw_text(pool, rng)
        part = distributed.part(len(batch))
        squares = pin(images[refs.image[batch[part]]], device)
        return squares, text[part], drawn, fillers[part], columns[part], positive[part], counted[part]

    def losses(step: int) -> Losses:
        squares, text, drawn, fillers, columns, positive, counted = read(step)
        image = normalise(squares.to(device, non_blocking=True))
        with autocast(device, params.precision):
            vis = model.encode_image(image)
            lan = model.encode_text(tokens[np.concatenate([text, drawn])].to(device))
            everybody = torch.cat([distributed.gather(lan[: len(text)]), lan[len(text) :]])
            response = model.respond(vis, everybody[columns.to(device)]).float()
        own = response[torch.arange(len(text), device=device), positive.to(device)]
        score = image_level_score(response, **params.mask_size.model_dump())
        parts = {"cls": classification_loss(score, positive.to(device), counted.to(device))}
        if weights.pos or weights.neg:
            with autocast(device, params.precision):
                seen = scorer.encode_image(masked_image(image, own, size=scorer_size)).float()
            seen = F.normalize(seen, dim=1)
            parts["pos"] = positive_term((seen * sentences[text]).sum(1), eps=weights.eps)
            similarity = torch.einsum("be,bke->bk", seen, sentences[fillers])
            parts["neg"] = negative_term(similarity, eps=weights.eps, reduction=weights.neg_reduction)
        total = sum((getattr(weights, name) * value for name, value in parts.items()), torch.zeros((), device=device))
        return {"total": total, **parts}

    return losses


def classification_columns(
    refs: TrainingRefs, batch: np.ndarray, params: TrainStep1Params, rng: np.random.Generator
) -> tuple[np.ndarray, Tensor, Tensor, Tensor]:
    """Which sentences are scored on which image (Eq. 7).

    Returns the refs (P,) drawn in addition to the batch; columns (B, 1 + N), positions among the sentences of batch and
    drawn refs; the positive's column (B,); and which columns count (B, 1 + N).
    """
    size = len(batch)
    if params.cls_negatives.source == "batch":
        pool = np.empty(0, np.int64)
        columns = torch.arange(size).expand(size, size)
        positive = torch.arange(size)
    else:
        pool = rng.integers(len(refs.image), size=params.cls_negatives.n)
        drawn = torch.arange(size, size + len(pool)).expand(size, len(pool))
        columns = torch.cat([torch.arange(size)[:, None], drawn], dim=1)
        positive = torch.zeros(size, dtype=torch.int64)
    counted = torch.ones(columns.shape, dtype=torch.bool)
    if params.cls_negatives.exclude_same_image:
        image = torch.from_numpy(refs.image[np.concatenate([batch, pool])])
        counted = image[columns] != image[:size, None]
        counted[torch.arange(size), positive] = True
    return pool, columns, positive, counted
