"""The complete parameter files that come with the package."""

from pathlib import Path


def presets() -> dict[str, Path]:
    """The files by their name: those in the package where it was installed from a wheel, else those of the checkout."""
    package = Path(__file__).parents[1]
    installed = package / "assets" / "presets"
    return {
        path.stem: path
        for path in (installed if installed.is_dir() else package.parent / "presets").glob("*.yaml")
    }
