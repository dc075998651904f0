"""Compare runs in a table, or put one or two of them on a page."""

from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from tris_core.cli.common import Baseline, Split, exit_on_input_error
from tris_core.runtime.errors import InputError


def compare(
    runs: Annotated[
        list[str],
        typer.Argument(
            help="`full` (experiments full-0, full-1, ...) or `full=main,full-1,my-branch`"
        ),
    ],
    split: Split = "val",
    step: Annotated[
        int, typer.Option(min=1, max=2, help="1: response maps, 2: predictions of Step-2")
    ] = 1,
    table: Annotated[
        int | None,
        typer.Option(min=1, max=5, help="add the numbers of the paper's table 1 to 5"),
    ] = None,
    baseline: Baseline = "HEAD",
    out: Annotated[Path | None, typer.Option(help="file to write, .md or .html")] = None,
) -> None:
    """Compare runs, averaged over their seeds.

    Runs are experiments, branches or commits. The first is what the others are compared with:
    differences have 95 % intervals over seeds and images, and are undecided if they may be chance.
    With --table 1, 2 or 4, runs may be on several data sets: each is shown above the numbers of all
    systems that the paper compares instead, on all splits but train.

    Nothing is checked out: results are read from DVC's cache. Results that dvc.lock says another
    run made are left out and named: those of stages that an experiment did not run, or that no
    longer fit the current folder's parameters.
    """
    with exit_on_input_error():
        if out is not None and out.suffix not in (".md", ".html"):
            raise InputError(f"--out {out}: end the name in .md or .html")
        from tris_core.reports.paper import TABLES
        from tris_core.reports.table import comparison, paper_table, resolve_groups, text
        from tris_core.runtime.files import replacing

        groups = resolve_groups(runs, baseline)
        if table is not None and table in TABLES:
            rows = paper_table(groups, table=table, step=step)
        else:
            rows = comparison(groups, step=step, split=split, table=table)
        typer.echo(text(rows, groups.notes, "github"))
        if out is not None:
            written = text(rows, groups.notes, "html" if out.suffix == ".html" else "github")
            with replacing(out) as temporary:
                temporary.write_text(written + "\n")


def page(
    out: Annotated[Path, typer.Option(dir_okay=False, help="HTML file to write")],
    runs: Annotated[
        list[str] | None,
        typer.Argument(
            help="one or two experiments, branches or commits; default: the current folder, "
            "`workspace`; NAME=REVISION names it on the page"
        ),
    ] = None,
    split: Split = "val",
    step: Annotated[
        int | None,
        typer.Option(min=1, max=2, help="whose masks to show; default: the last all runs have"),
    ] = None,
    items: Annotated[
        int, typer.Option(min=1, help="predictions to show; other pictures in proportion")
    ] = 36,
    baseline: Baseline = "HEAD",
) -> None:
    """Write an HTML page about one or two runs.

    Of two runs, it also shows how the second differs from the first. The page is one file and opens
    without a network. Nothing is checked out: results are read from DVC's cache.
    """
    with exit_on_input_error():
        from tris_core.reports.experiments import WORKSPACE, experiments, open_files
        from tris_core.reports.page import write_page

        pairs = (run.partition("=") for run in runs or [WORKSPACE])
        named = {name: revision or name for name, _, revision in pairs}
        if len(named) != len(runs or [WORKSPACE]) or len(named) > 2:
            raise InputError(
                "a page is about one run or two of different names, "
                f"not {', '.join(runs or [WORKSPACE])}"
            )
        known = {} if set(named.values()) == {WORKSPACE} else experiments(baseline)
        with ExitStack() as opened:
            files = [
                opened.enter_context(open_files(name, known.get(r, r), list(known)))
                for name, r in named.items()
            ]
            write_page(out, files, step=step, split=split, items=items)
        typer.echo(f"{out}: {out.stat().st_size / 1e6:.1f} MB about {' and '.join(named)}")
