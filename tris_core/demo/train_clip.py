"""Trains the demo CLIP, a small ResNet-tower CLIP, on generated scenes and captions.

The loss is contrastive and uses no boxes or masks: a sample is a picture and a sentence about it.
Scenes come in groups that share a small palette of shapes, colours and patterns. So a batch cannot
be solved by colours alone, and the loss has to bind attributes to each other. Some groups show
single things on the mean colour, which is what the scorer of Eq. 9 sees.
"""

import json
import math
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from open_clip.model import CLIP
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim import AdamW

from tris_core.clip.tokenizer import UNKNOWN, Tokenizer
from tris_core.clip.towers import build_clip, encode_words, sentence_feature
from tris_core.data.transforms import IMAGENET, MEAN_COLOUR, normalise
from tris_core.shapes.language import WORDS, draw_caption
from tris_core.shapes.scene import COLORS, PATTERNS, SHAPES, render, sample_scene
from tris_core.training.loop import fit, seed_everything
from tris_core.training.run import TrainingRun
from tris_core.training.scratch import scratch_folder, training_digest
from tris_core.training.task import Batch, Losses, Task
from tris_core.weights.clip_spec import SPECIAL, ClipConfig, TextConfig, VisionConfig

SIZE, CONTEXT = 96, 32
CANVAS = (100, 200)  # a scene of this many pixels is drawn at SIZE, so that ...
SIZES = (54.0, 96.0)  # ... things of this many pixels appear from 26 to 92 pixels wide
GROUP = 4
SINGLE = 0.2  # share of the groups that show single things on the mean colour
CHECKPOINT_SECONDS = 60.0


def demo_config(words: int) -> ClipConfig:
    """The demo CLIP's architecture, for a vocabulary of so many words."""
    return ClipConfig(
        embed_dim=128,
        vision_cfg=VisionConfig.model_validate(
            {"layers": [1, 1, 1, 1], "width": 24, "image_size": SIZE}
        ),
        text_cfg=TextConfig(
            context_length=CONTEXT, width=128, heads=4, layers=2, vocab_size=words + SPECIAL
        ),
        quick_gelu=False,
        mean=list(IMAGENET[0]),
        std=list(IMAGENET[1]),
    )


def demo_vocabulary() -> list[int]:
    """BPE ids that the captions use, in ascending order."""
    whole = Tokenizer()
    return sorted({i for word in WORDS for i in whole.words(word)})


@dataclass(frozen=True)
class CaptionBatch(Batch):
    """N pictures (N, 96, 96, 3) uint8 and their captions' token ids (N, 32)."""

    pictures: Tensor
    tokens: Tensor


@dataclass(frozen=True)
class CaptionedScenes:
    """Draws the batch of any step: `size` scenes in groups, a share `single` of one thing each."""

    size: int
    seed: int
    single: float = SINGLE

    def __call__(self, step: int) -> CaptionBatch:
        rng = np.random.default_rng([self.seed, step])
        tokenizer = Tokenizer(demo_vocabulary())
        pictures, captions = [], []
        for _ in range(self.size // GROUP):
            palette, single = draw_palette(rng), rng.random() < self.single
            for _ in range(GROUP):
                picture, caption = draw_sample(rng, palette, single)
                pictures.append(picture)
                captions.append(caption)
        tokens = tokenizer(captions, CONTEXT)
        word = (tokens > UNKNOWN) & (tokens < tokenizer.start)
        # trains the row of unknown words
        tokens[word & torch.from_numpy(rng.random(tokens.shape) < 0.02)] = UNKNOWN
        return CaptionBatch(torch.from_numpy(np.stack(pictures)), tokens)

    def describe(self, step: int) -> str:
        return f"scenes of seed {self.seed}, step {step}"


Palette = tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]


def draw_palette(rng: np.random.Generator) -> Palette:
    """Draw the shapes, colours and patterns of a group of scenes: mostly a few, sometimes all."""
    if rng.random() < 0.25:
        return SHAPES, tuple(COLORS), PATTERNS
    return tuple(  # type: ignore[return-value]
        tuple(rng.permutation(names)[: rng.integers(2, 4)].tolist())
        for names in (SHAPES, tuple(COLORS), PATTERNS)
    )


def draw_sample(
    rng: np.random.Generator, palette: Palette, single: bool
) -> tuple[NDArray[np.uint8], str]:
    """Draw a picture (96, 96, 3) and its caption; `single`: one thing on the mean colour."""
    n = 1 if single else int(rng.choice([1, 2, 3, 4], p=[0.25, 0.35, 0.28, 0.12]))
    side = int(rng.uniform(CANVAS[0] + 12 * (n - 1), CANVAS[1]))
    scene = sample_scene(rng, side, side, n, SIZES, palette)
    picture, masks = render(scene, SIZE / side)
    if single:
        picture[~masks[0]] = MEAN_COLOUR
    return picture, draw_caption(rng, scene)


def encode(clip: CLIP, batch: CaptionBatch) -> tuple[Tensor, Tensor]:
    """Unit features (N, E) of pictures and captions."""
    image = clip.encode_image(normalise(batch.pictures))
    text = sentence_feature(clip, encode_words(clip, batch.tokens), batch.tokens)
    return F.normalize(image, dim=1), F.normalize(text, dim=1)


class ContrastiveObjective(nn.Module):
    """CLIP's loss over the batch, and the share of pictures nearest to their own caption."""

    def __init__(self, clip: CLIP) -> None:
        super().__init__()
        self.clip = clip

    def forward(self, batch: CaptionBatch) -> Losses:
        image, text = encode(self.clip, batch)
        scores = self.clip.logit_scale.exp().clamp(max=100) * image @ text.T
        own = torch.arange(len(scores))
        loss = (F.cross_entropy(scores, own) + F.cross_entropy(scores.T, own)) / 2
        return {"total": loss, "top1": (scores.argmax(1) == own).float().mean()}


@torch.inference_mode()
def retrieval(clip: CLIP, scenes: CaptionedScenes, batches: int = 4) -> dict[str, float]:
    """Retrieval accuracy on the first batches of `scenes`.

    This is the share of pictures that score highest with their own caption, among all captions of
    a batch and among those of their group.
    """
    clip.eval()
    top1, in_group = [], []
    for batch in map(scenes, range(batches)):
        image, text = encode(clip, batch)
        scores = image @ text.T
        own = torch.arange(scenes.size)
        top1.append((scores.argmax(1) == own).float().mean().item())
        groups = scores.view(-1, GROUP, scenes.size)
        blocks = [group[:, i * GROUP : (i + 1) * GROUP] for i, group in enumerate(groups)]
        nearest = torch.stack(blocks).argmax(2)
        in_group.append((nearest == torch.arange(GROUP)).float().mean().item())
    return {
        f"top1_of_{scenes.size}": float(np.mean(top1)),
        f"top1_of_group_of_{GROUP}": float(np.mean(in_group)),
    }


def train(
    out: Path, *, steps: int, batch: int = 256, lr: float = 1.5e-3, seed: int = 0
) -> dict[str, float]:
    """Train for `steps` batches and write the CLIP folder `out` in float16.

    An interrupted training resumes. Returns the accuracy on scenes of another seed.
    """
    seed_everything(seed)
    vocabulary = demo_vocabulary()
    config = demo_config(len(vocabulary))
    clip = build_clip(config).to(memory_format=torch.channels_last)
    clip.visual.compile()  # 1.4 times the speed on two cores, after a minute's wait
    scenes = CaptionedScenes(batch, seed)
    task = Task(
        name="demo CLIP",
        model=clip,
        optimizer=_optimizer(clip, lr),
        steps=steps,
        images=batch,
        precision="fp32",
        batch=scenes,
        objective=ContrastiveObjective(clip),
        describe=scenes.describe,
        schedule=partial(_warm_cosine, steps=steps),
    )
    asked = {"steps": steps, "batch": batch, "lr": lr, "seed": seed}
    with scratch_folder("demo_clip", training_digest(asked, [])) as scratch:
        fit(task, TrainingRun(scratch, CHECKPOINT_SECONDS, lambda rows: None))
        save(clip, config, vocabulary, out)
    return retrieval(clip, CaptionedScenes(batch, seed + 1, single=0.0))


def _optimizer(clip: nn.Module, lr: float) -> AdamW:
    """AdamW; biases and norms do not decay."""
    matrices = [p for p in clip.parameters() if p.ndim > 1]
    vectors = [p for p in clip.parameters() if p.ndim <= 1]
    return AdamW(
        [{"params": matrices, "weight_decay": 0.05}, {"params": vectors, "weight_decay": 0.0}],
        lr=lr,
        betas=(0.9, 0.98),
    )


def _warm_cosine(step: int, steps: int) -> float:
    """Factor of the learning rate: linear over the first twentieth, then half a cosine."""
    warm = max(1, steps // 20)
    return min((step + 1) / warm, 0.5 + 0.5 * math.cos(math.pi * step / steps))


def save(clip: CLIP, config: ClipConfig, vocabulary: list[int], out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    weights = {k: v.half() if v.is_floating_point() else v for k, v in clip.state_dict().items()}
    save_file({k: v.contiguous() for k, v in weights.items()}, out / "model.safetensors")
    (out / "config.json").write_text(json.dumps(config.content(), indent=2) + "\n")
    (out / "vocabulary.json").write_text(json.dumps(vocabulary) + "\n")
