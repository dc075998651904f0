"""`tris`: what one does beside the pipeline. The stages themselves are `python -m stages.NAME`."""

from pathlib import Path
from typing import Annotated

import typer

from tris_core.errors import InputError

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


@app.command()
def import_weights(
    file: Annotated[Path, typer.Argument(help="checkpoint file as the authors released it, or a model folder")],
    out: Annotated[Path, typer.Option(help="model folder to write")],
    stage: Annotated[int | None, typer.Option(min=1, max=2, help="which step it must be of; default: as its keys say")] = None,
) -> None:
    """Turn a released Step-1 or Step-2 checkpoint into a model folder, every key accounted for.

    `train_step1.weights` and `train_step2.weights` take the file itself or the folder.
    """
    from tris_core.models.checkpoints import save_model
    from tris_core.models.released import describe_source, open_weights
    from tris_core.models.step1 import build_step1
    from tris_core.models.step2 import build_step2

    builders = {number: build for number, build in ((1, build_step1), (2, build_step2)) if stage in (None, number)}
    try:
        state, config = open_weights(file, builders)
    except InputError as error:
        typer.echo(f"import-weights: {error}", err=True)
        raise typer.Exit(1) from None
    save_model(out, state, config)
    for line in describe_source(config["source"]):
        typer.echo(line)
    typer.echo(f"{out}: {len(state)} tensors")


if __name__ == "__main__":
    app()
