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


@app.command()
def main(name: Annotated[str, typer.Argument(help=f"one of: {', '.join(NAMES)}")]) -> None:
    """Run the `main` of benchmarks/NAME.py."""
    if name not in NAMES:
        raise typer.BadParameter(f"{name!r} is not one of {', '.join(NAMES)}")
    importlib.import_module(f"benchmarks.{name}").main()


if __name__ == "__main__":
    app()
