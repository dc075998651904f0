"""`tris`: what one does beside the pipeline. The stages themselves are `python -m stages.NAME`."""

from collections.abc import Iterator
from contextlib import contextmanager
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
def report(
    runs: Annotated[list[str], typer.Argument(help="`full` (experiments full-0, full-1, ...) or `full=main,full-1,my-branch`")],
    split: Annotated[str, typer.Option(help="which split's expressions")] = "val",
    step: Annotated[int, typer.Option(min=1, max=2, help="1: response maps, 2: predictions")] = 1,
    baseline: Annotated[str, typer.Option(help="the commit that the experiments started from")] = "HEAD",
    table: Annotated[str | None, typer.Option(help="put the numbers of the paper's table 3 or 5 beside")] = None,
    out: Annotated[Path | None, typer.Option(help="file to write: .md or .html")] = None,
) -> None:
    """Compare experiments, branches and commits over their seeds; the first run is what the others are compared with.

    Nothing is checked out: results are read from DVC's cache.
    """
    from tabulate import tabulate

    from tris_core.experiments import experiments, group_of, read_run
    from tris_core.files import replacing
    from tris_core.paper import TABLES
    from tris_core.report import compare

    with plain_errors():
        if table is not None and table not in TABLES:
            raise InputError(f"--table {table}: known are {', '.join(TABLES)}")
        if out is not None and out.suffix not in (".md", ".html"):
            raise InputError(f"--out {out}: end the name in .md or .html")
        known = experiments(baseline)
        groups = {}
        for run in runs:
            name, _, listed = run.partition("=")
            revisions = listed.split(",") if listed else [found for found in known if group_of(found) == name]
            if not revisions:
                raise InputError(f"{name}: no such experiment of {baseline}; known are {', '.join(sorted(known)) or 'none'}")
            groups[name] = [read_run(r, known.get(r, r), step=step, split=split).records for r in sorted(revisions)]
        rows = compare(groups, against=next(iter(groups)), paper=TABLES[table] if table else None)
        typer.echo(tabulate(rows, headers="keys", tablefmt="github", showindex=False, disable_numparse=True))
        if out is not None:
            style = "github" if out.suffix == ".md" else "html"
            with replacing(out) as temporary:
                temporary.write_text(
                    tabulate(rows, headers="keys", tablefmt=style, showindex=False, disable_numparse=True) + "\n"
                )


@contextmanager
def plain_errors() -> Iterator[None]:
    """Print what is wrong with an input plainly, and end with exit code 1."""
    try:
        yield
    except InputError as error:
        typer.echo(f"tris: {error}", err=True)
        raise typer.Exit(1) from None


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
    with plain_errors():
        state, config = open_weights(file, builders)
    save_model(out, state, config)
    for line in describe_source(config["source"]):
        typer.echo(line)
    typer.echo(f"{out}: {len(state)} tensors")


if __name__ == "__main__":
    app()
