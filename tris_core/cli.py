"""`tris`: what one does beside the pipeline. The stages themselves are `python -m stages.NAME`."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@app.callback()
def main() -> None:
    """Referring image segmentation learnt from sentences alone."""


@app.command()
def train_demo_clip(
    out: Annotated[Path, typer.Option(help="CLIP folder to write")],
    steps: Annotated[int, typer.Option(min=1, help="batches of 256 captioned scenes")] = 850,
    seed: Annotated[int, typer.Option(min=0, help="of scenes, captions and initial weights")] = 0,
) -> None:
    """Train a demo CLIP from generated scenes and captions (contrastive loss; no boxes, no masks).

    Writes a CLIP folder that `prepare_clip.backbone` and `prepare_clip.scorer` can name.
    """
    from tris_core.demo_clip import train

    for name, value in train(out, steps=steps, seed=seed).items():
        typer.echo(f"{name}: {value:.3f}")


if __name__ == "__main__":
    app()
