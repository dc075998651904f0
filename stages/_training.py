"""What the training stages share: opening the data, skipping, adopting weights, saving."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pandas as pd
from torch import Tensor, nn

from stages._artifacts import (
    CLIP,
    CURVES,
    PACKED,
    TOKENS,
    TRUTH,
    check_keys,
    open_index,
    open_packed,
    open_truth,
)
from stages._stage import Run
from tris_core.clip.recompute import recompute_blocks
from tris_core.clip.tokens import read_tokens
from tris_core.data.index import Index
from tris_core.data.packed import PackedImages, packed_size
from tris_core.runtime import distributed
from tris_core.runtime.errors import InputError, counted
from tris_core.runtime.files import replacing
from tris_core.runtime.params import Section
from tris_core.training.loggers import open_log
from tris_core.training.params import Training
from tris_core.training.run import Rows, TrainingRun
from tris_core.training.samples import TrainingRefs
from tris_core.training.scratch import scratch_folder, training_digest
from tris_core.training.task import KeepBest
from tris_core.training.validation import ValidationSet, validation_set
from tris_core.weights.clip_spec import ClipPair, ClipSpec
from tris_core.weights.configs import ModelConfig
from tris_core.weights.model_folder import save_marker, save_model
from tris_core.weights.released import Builders, open_weights


@dataclass(frozen=True)
class TrainingData:
    """What Step-1 and Step-2 train on.

    Attributes:
        index: Images, refs and expressions of all splits.
        packed: The images at training size, by row of `index.images`.
        refs: The refs of the train split.
        clip: models/clip.json.
    """

    index: Index
    packed: PackedImages
    refs: TrainingRefs
    clip: ClipPair

    @staticmethod
    def open(run: Run) -> "TrainingData":
        index = open_index()
        check_keys(index, TOKENS)
        refs = TrainingRefs.from_index(index, "train")
        return TrainingData(index, open_packed(run, index), refs, ClipPair.read(CLIP))

    def tokens(self, clip: ClipSpec) -> Tensor:
        """Token ids (L, T) of all expressions for a CLIP of models/clip.json."""
        texts = self.index.expressions["text"]
        return read_tokens(TOKENS, texts, clip.vocabulary, self.clip.text)

    def keep_best(
        self, params: Training, tokens: Tensor, miou: Callable[[ValidationSet], float]
    ) -> KeepBest | None:
        """What `selection` asks for. `val_mIoU` is the only reason for a training to open truth."""
        if params.selection == "last":
            return None
        val = validation_set(self.packed, self.index, tokens, open_truth())
        return KeepBest(params.steps_per_epoch(len(self.refs)), partial(miou, val))


@contextmanager
def open_training(
    run: Run, folder: Path, params: Section, inputs: list[Path]
) -> Iterator[TrainingRun]:
    """The checkpoints and the log of the training that writes `folder`, closed after the block.

    The checkpoints belong to these `params`, `inputs` and code: after a change of any of them, the
    training starts over.
    """
    name, runtime = folder.name, run.runtime
    content = params.model_dump()
    read = [*inputs, *sorted(Path(__file__).parent.glob("*.py"))]  # the stages are code, too
    if content.get("selection", "last") != "last":
        read.append(TRUTH)
    digest = training_digest(content, read)
    with scratch_folder(name, digest) as scratch, open_log(runtime.logger, name) as follow:

        def log(rows: Rows) -> None:
            _write_curve(folder, pd.DataFrame(rows))
            follow(int(rows[-1]["step"]), {k: v for k, v in rows[-1].items() if k != "step"})

        yield TrainingRun(scratch, runtime.checkpoint_seconds, log)


def as_asked(run: Run, objective: nn.Module, *frozen: nn.Module) -> nn.Module:
    """`objective` under runtime.recompute. It computes with `frozen` too."""
    if run.runtime.recompute:
        for network in (objective, *frozen):
            recompute_blocks(network)
    return objective


def save_training(
    folder: Path, model: nn.Module, config: ModelConfig, history: pd.DataFrame
) -> None:
    """Write the trained model and its whole loss curve. Only rank 0 does."""
    if not distributed.rank():
        save_model(folder, model.state_dict(), config)
    _write_curve(folder, history)


def length(steps: int, batch: int, refs: int) -> str:
    """For the closing line: "100 steps of 32 on 1094 refs"."""
    cut = f" (not {batch}, there are no more)" if batch > refs else ""
    return f"{counted(steps, 'step')} of {min(batch, refs)}{cut} on {counted(refs, 'ref')}"


def ended(training: TrainingRun, history: pd.DataFrame) -> str:
    """The last loss and the speed, for the closing line."""
    loss = f"loss {history['total'].iloc[-1]:.3f}" if len(history) else "untrained"
    return f"{loss}, {training.speed}" if training.speed else loss


def skip_training(run: Run, folder: Path, why: str) -> None:
    """Write a marker instead of a model, and an empty curve."""
    if not distributed.rank():
        save_marker(folder, why)
    _write_curve(folder, NO_HISTORY)
    run.say(f"{folder}: not trained, {why}")


def adopt_weights(run: Run, folder: Path, location: str, builders: Builders) -> None:
    """Check a network trained elsewhere and save it as `folder`, with an empty curve.

    `location` is a model folder or a released file (a path or hf://owner/repo/file). Raises
    `InputError` if it does not fit.
    """
    state, config = open_weights(location, builders)
    size = packed_size(PACKED)
    if config.size != size:
        raise InputError(
            f"{location}: trained on squares of {config.size} pixels, not {size}; "
            "set pack_images.side to that"
        )
    if not distributed.rank():
        save_model(folder, state, config)
    _write_curve(folder, NO_HISTORY)
    assert config.source is not None  # open_weights names it
    digest = config.source.sha256[:12]
    run.say(f"{folder}: not trained, {len(state)} tensors of {location}, SHA-256 {digest}")


NO_HISTORY = pd.DataFrame(columns=["step", "total"])


def _write_curve(folder: Path, history: pd.DataFrame) -> None:
    """metrics/curves/<name of the model folder>.csv."""
    if distributed.rank():
        return
    with replacing(CURVES / f"{folder.name}.csv") as temporary:
        history.to_csv(temporary, index=False)
