"""The demo CLIP's training: its scenes, its loss, and the folder it writes."""

from pathlib import Path

import numpy as np
import pytest
import torch

from tris_core.clip.sources import describe_clip
from tris_core.clip.towers import build_clip
from tris_core.data.transforms import MEAN_COLOUR
from tris_core.demo.train_clip import (
    SIZE,
    CaptionedScenes,
    ContrastiveObjective,
    demo_config,
    demo_vocabulary,
    encode,
    train,
)
from tris_core.runtime.files import sha256_of


def test_a_batch_is_a_function_of_seed_and_step() -> None:
    first, again = (CaptionedScenes(8, seed=3)(5) for _ in range(2))
    assert torch.equal(first.pictures, again.pictures)
    assert torch.equal(first.tokens, again.tokens)
    other = CaptionedScenes(8, seed=3)(6)
    assert not torch.equal(first.pictures, other.pictures)
    assert first.pictures.shape == (8, SIZE, SIZE, 3)
    assert first.pictures.dtype == torch.uint8


def test_a_single_thing_stands_on_the_mean_colour() -> None:
    mean = torch.from_numpy(MEAN_COLOUR)
    for picture in CaptionedScenes(16, seed=0, single=1.0)(0).pictures:
        share = (picture != mean).any(dim=2).float().mean().item()
        assert 0.02 < share < 0.95  # the thing
        rows, columns = np.nonzero((picture != mean).any(dim=2).numpy())
        assert len(set(rows)) == rows.max() - rows.min() + 1  # one thing, no gap
        assert len(set(columns)) == columns.max() - columns.min() + 1
    whole = CaptionedScenes(16, seed=0, single=0.0)(0).pictures
    assert (whole != mean).any(dim=3).float().mean() > 0.99


def test_the_loss_is_clips() -> None:
    torch.manual_seed(0)
    clip = build_clip(demo_config(len(demo_vocabulary()))).eval()
    batch = CaptionedScenes(8, seed=0)(0)
    with torch.no_grad():
        image, text = encode(clip, batch)
        losses = ContrastiveObjective(clip)(batch)
    scores = (image.double() @ text.double().T) * clip.logit_scale.double().exp()
    by_picture = [-scores[i].softmax(0)[i].log().item() for i in range(8)]
    by_caption = [-scores[:, i].softmax(0)[i].log().item() for i in range(8)]
    assert losses["total"].item() == pytest.approx(np.mean(by_picture + by_caption), rel=1e-4)


def test_a_training_writes_a_clip_that_loads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRIS_SCRATCH", str(tmp_path / "scratch"))
    with torch.compiler.set_stance("force_eager"):  # compiling takes a minute
        accuracy = train(tmp_path / "a", steps=2, batch=8)
        train(tmp_path / "b", steps=2, batch=8)
    assert describe_clip(str(tmp_path / "a"), None).image_size == SIZE  # and its weights load
    assert set(accuracy) == {"top1_of_8", "top1_of_group_of_4"}
    weights = [sha256_of([tmp_path / name / "model.safetensors"]) for name in "ab"]
    assert weights[0] == weights[1]
    assert not list((tmp_path / "scratch" / "training").glob("demo_clip-*/"))
