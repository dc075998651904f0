"""`python -m benchmarks NAME`: run a benchmark; print a table, and a line of JSON per row."""

import importlib
import pkgutil
from typing import Annotated

import typer

import benchmarks

NAMES = sorted(
    module.name
    for module in pkgutil.iter_modules(benchmarks.__path__)
    if not module.name.startswith("_")
)
app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@app.command(
    add_help_option=False,  # the benchmark has options of its own
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
)
def main(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help=f"one of: {', '.join(NAMES)}")],
) -> None:
    """Run benchmarks/NAME.py."""
    if name not in NAMES:
        raise typer.BadParameter(f"{name!r} is not one of {', '.join(NAMES)}")
    benchmark = importlib.import_module(f"benchmarks.{name}")
    if hasattr(benchmark, "app"):
        benchmark.app(context.args, prog_name=f"benchmarks {name}")
    else:
        benchmark.main()


if __name__ == "__main__":
    app()
