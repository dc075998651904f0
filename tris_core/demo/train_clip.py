"""Trains the demo CLIP, a small ResNet-tower CLIP, on generated scenes and captions.

The loss is contrastive and uses no boxes or masks: a sample is a picture and a sentence about it.
Scenes come in groups that share a small palette of shapes, colours and patterns. So a batch cannot
be solved by colours alone, and the loss has to bind attributes to each other.
"""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from open_clip.model import CLIP
from safetensors.torch import save_file
from torch import Tensor
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader, IterableDataset
from tqdm import tqdm

from tris_core.clip.tokenizer import UNKNOWN, Tokenizer
from tris_core.clip.towers import build_clip, encode_words, sentence_feature
from tris_core.shapes.language import WORDS, draw_caption
from tris_core.shapes.scene import COLORS, PATTERNS, SHAPES, render, sample_scene
from tris_core.weights.clip_spec import SPECIAL, ClipConfig, TextConfig, VisionConfig

SIZE, CONTEXT = 96, 32
CANVAS = (100, 200)  # a scene of this many pixels is drawn at SIZE, so that ...
SIZES = (54.0, 96.0)  # ... things of this many pixels appear from 26 to 92 pixels wide
GROUP = 4
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


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
        mean=list(IMAGENET_MEAN),
        std=list(IMAGENET_STD),
    )


def demo_vocabulary() -> list[int]:
    """BPE ids that the captions use, in ascending order."""
    whole = Tokenizer()
    return sorted({i for word in WORDS for i in whole.words(word)})


class CaptionedScenes(IterableDataset[tuple[Tensor, Tensor]]):
    """Batches of pictures (N, 3, 96, 96) uint8 and token ids (N, 32).

    Batch k is a function of (seed, k) alone.
    """

    def __init__(self, batch: int, steps: range, seed: int) -> None:
        self.batch, self.steps, self.seed = batch, steps, seed
        self.tokenizer = Tokenizer(demo_vocabulary())

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for step in self.steps:
            rng = np.random.default_rng([self.seed, step])
            pictures, captions = [], []
            for _ in range(self.batch // GROUP):
                palette = draw_palette(rng)
                for _ in range(GROUP):
                    n = int(rng.choice([1, 2, 3, 4], p=[0.25, 0.35, 0.28, 0.12]))
                    side = int(rng.uniform(CANVAS[0] + 12 * (n - 1), CANVAS[1]))
                    scene = sample_scene(rng, side, side, n, SIZES, palette)
                    pictures.append(render(scene, SIZE / side)[0])
                    captions.append(draw_caption(rng, scene))
            tokens = self.tokenizer(captions, CONTEXT)
            word = (tokens > UNKNOWN) & (tokens < self.tokenizer.start)
            # trains the row of unknown words
            tokens[word & torch.from_numpy(rng.random(tokens.shape) < 0.02)] = UNKNOWN
            yield torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2), tokens


def draw_palette(
    rng: np.random.Generator,
) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    """Draw the shapes, colours and patterns of a group of scenes: mostly a few, sometimes all."""
    if rng.random() < 0.25:
        return SHAPES, tuple(COLORS), PATTERNS
    return tuple(  # type: ignore[return-value]
        tuple(rng.permutation(names)[: rng.integers(2, 4)].tolist())
        for names in (SHAPES, tuple(COLORS), PATTERNS)
    )


def encode(clip: CLIP, pictures: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
    """Unit features (N, E) of pictures and sentences."""
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (IMAGENET_MEAN, IMAGENET_STD))
    image = clip.encode_image((pictures.float() / 255 - mean) / std)
    text = sentence_feature(clip, encode_words(clip, tokens), tokens)
    return F.normalize(image, dim=1), F.normalize(text, dim=1)


@torch.inference_mode()
def retrieval(clip: CLIP, seed: int, batches: int = 4, batch: int = 256) -> dict[str, float]:
    """Held-out retrieval accuracy.

    This is the share of pictures that score highest with their own caption, among `batch` captions
    and among those of their group.
    """
    clip.eval()
    top1, in_group = [], []
    for pictures, tokens in CaptionedScenes(batch, range(batches), seed):
        image, text = encode(clip, pictures, tokens)
        scores = image @ text.T
        own = torch.arange(batch)
        top1.append((scores.argmax(1) == own).float().mean().item())
        groups = scores.view(batch // GROUP, GROUP, batch)
        blocks = torch.stack(
            [groups[g, :, g * GROUP : (g + 1) * GROUP] for g in range(batch // GROUP)]
        )
        in_group.append((blocks.argmax(2) == torch.arange(GROUP)).float().mean().item())
    clip.train()
    return {
        f"top1_of_{batch}": float(np.mean(top1)),
        f"top1_of_group_of_{GROUP}": float(np.mean(in_group)),
    }


def train(
    out: Path, *, steps: int, batch: int = 256, lr: float = 1.5e-3, seed: int = 0
) -> dict[str, float]:
    """Train for `steps` batches and write the CLIP folder `out` in float16.

    Returns the held-out retrieval accuracy.
    """
    torch.manual_seed(seed)
    vocabulary = demo_vocabulary()
    config = demo_config(len(vocabulary))
    clip = build_clip(config).to(memory_format=torch.channels_last)
    clip.visual.compile()  # 1.4 times the speed on two cores, after a minute's wait
    optimizer, schedule = _optimizer(clip, lr, steps)
    loader = DataLoader(
        CaptionedScenes(batch, range(steps), seed),
        batch_size=None,
        num_workers=1,
        prefetch_factor=4,
    )
    started = time.monotonic()
    for step, (pictures, tokens) in enumerate(
        tqdm(loader, total=steps, desc="demo CLIP", mininterval=20)
    ):
        image, text = encode(clip, pictures, tokens)
        scores = clip.logit_scale.exp().clamp(max=100) * image @ text.T
        own = torch.arange(batch)
        loss = (F.cross_entropy(scores, own) + F.cross_entropy(scores.T, own)) / 2
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % 50 == 0 or step == steps - 1:
            accuracy = (scores.argmax(1) == own).float().mean().item()
            quality = f"loss {loss.item():.3f}, top-1 in the batch {accuracy:.3f}"
            tqdm.write(f"step {step}: {quality}, {time.monotonic() - started:.0f} s")
        if step % 200 == 199:
            save(clip, config, vocabulary, out)
    save(clip, config, vocabulary, out)
    return retrieval(clip, seed + 1)


def _optimizer(clip: CLIP, lr: float, steps: int) -> tuple[AdamW, LambdaLR]:
    """AdamW with a linear warm-up and a cosine; biases and norms do not decay."""
    matrices = [p for p in clip.parameters() if p.ndim > 1]
    vectors = [p for p in clip.parameters() if p.ndim <= 1]
    optimizer = AdamW(
        [{"params": matrices, "weight_decay": 0.05}, {"params": vectors, "weight_decay": 0.0}],
        lr=lr,
        betas=(0.9, 0.98),
    )
    warm = max(1, steps // 20)
    return optimizer, LambdaLR(
        optimizer, lambda i: min((i + 1) / warm, 0.5 + 0.5 * np.cos(np.pi * i / steps))
    )


def save(clip: CLIP, config: ClipConfig, vocabulary: list[int], out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    weights = {k: v.half() if v.is_floating_point() else v for k, v in clip.state_dict().items()}
    save_file({k: v.contiguous() for k, v in weights.items()}, out / "model.safetensors")
    (out / "config.json").write_text(json.dumps(config.content(), indent=2) + "\n")
    (out / "vocabulary.json").write_text(json.dumps(vocabulary) + "\n")
