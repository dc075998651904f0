"""What a run starts from: parameter files, data sets, the demo CLIP."""

from pathlib import Path
from typing import Annotated

import typer

from tris_core.cli.common import exit_on_input_error
from tris_core.runtime.errors import InputError


def preset(
    name: Annotated[
        str, typer.Argument(help="shapes, shapes-long, paper, release-2024 or paper-literal")
    ],
    out: Annotated[Path, typer.Option(dir_okay=False, help="parameter file to write")] = Path(
        "params.yaml"
    ),
) -> None:
    """Write a complete parameter file."""
    with exit_on_input_error():
        from tris_core.cli.presets import presets
        from tris_core.runtime.files import replacing

        if name not in (known := presets()):
            raise InputError(f"{name}: no such preset; there are {', '.join(sorted(known))}")
        if out.exists():
            raise InputError(f"{out}: is there already; move it, or name another file with --out")
        with replacing(out) as temporary:
            temporary.write_bytes(known[name].read_bytes())
        typer.echo(f"{out}: {name}")


def check_data(
    root: Annotated[
        Path, typer.Argument(help="as dataset.root: holds refer/, train2014/ and referit/")
    ],
    subset: Annotated[
        bool, typer.Option("--subset", help="accept any number of refs, expressions and images")
    ] = False,
) -> None:
    """Check that downloaded data are complete.

    Compares counts with the known ones, and names missing images and images in several splits. The
    exit code is 1 if anything is missing, unreadable, or not of the expected number.
    """
    from tris_core.annotations.check import check_data as check

    with exit_on_input_error():
        report = check(root, subset=subset)
    if len(report.table):
        typer.echo(report.table.to_string(index=False))
    for note in report.notes:
        typer.echo(f"note: {note}")
    for fault in report.faults:
        typer.echo(f"wrong: {fault}", err=True)
    if report.faults:
        raise typer.Exit(1)
    typer.echo("nothing is missing" + (" of this subset" if subset else ""))


def train_demo_clip(
    out: Annotated[Path, typer.Option(help="CLIP folder to write")],
    steps: Annotated[int, typer.Option(min=1, help="batches of 256 captioned scenes")] = 1600,
    seed: Annotated[int, typer.Option(min=0, help="of scenes, captions and initial weights")] = 0,
) -> None:
    """Train a demo CLIP on generated scenes.

    It learns from pictures and captions (contrastive loss; no boxes, no masks). Writes a CLIP
    folder for `prepare_clip.backbone` and `prepare_clip.scorer`. An interrupted training resumes.
    """
    with exit_on_input_error():
        from tris_core.demo.train_clip import train

        for name, value in train(out, steps=steps, seed=seed).items():
            typer.echo(f"{name}: {value:.3f}")
