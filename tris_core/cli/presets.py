"""The complete parameter files that come with the package."""

from pathlib import Path


def presets() -> dict[str, Path]:
    """The files by name: those in an installed package, or else those of the checkout."""
    package = Path(__file__).parents[1]
    installed = package / "assets" / "presets"
    folder = installed if installed.is_dir() else package.parent / "presets"
    return {path.stem: path for path in folder.glob("*.yaml")}
