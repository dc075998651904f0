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


@app.command()
def check_data(
    root: Annotated[Path, typer.Argument(help="what dataset.root will be: holds refer/, train2014/, referit/")],
    subset: Annotated[bool, typer.Option("--subset", help="accept any number of refs, expressions and images")] = False,
) -> None:
    """Count what lies under ROOT beside what the downloads are known to hold, and name missing and shared images.

    Ends with exit code 1 if anything is missing, unreadable, or of another number than expected.
    """
    from tris_core.data.check import check_data as check
    from tris_core.errors import InputError

    try:
        report = check(root, subset=subset)
    except InputError as error:
        typer.echo(f"check-data: {error}", err=True)
        raise typer.Exit(1) from None
    if len(report.table):
        typer.echo(report.table.to_string(index=False))
    for note in report.notes:
        typer.echo(f"note: {note}")
    for fault in report.faults:
        typer.echo(f"wrong: {fault}", err=True)
    if report.faults:
        raise typer.Exit(1)
    typer.echo("nothing is missing" + (" of this subset" if subset else ""))


if __name__ == "__main__":
    app()
