"""Stages run inside the test's own process, in a folder of its own: no DVC, and no start-up per stage."""

from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from ruamel.yaml import YAML
from typer.testing import CliRunner

from tests.support.closure import ROOT


def enter(patch: pytest.MonkeyPatch, folder: Path) -> None:
    """Make `folder` the one that stages run in, its scratch folder inside it."""
    patch.setattr("stages._stage.end_with_parent", lambda: None)
    patch.setenv("TRIS_SCRATCH", str(folder / "scratch"))
    patch.chdir(folder)


def write_params(
    changes: dict[str, dict[str, Any]], *, preset: str = "shapes", folder: Path = Path()
) -> dict[str, Any]:
    """`folder`/params.yaml: the preset with some values of some sections changed. Returns its content."""
    params = YAML().load(ROOT / "presets" / f"{preset}.yaml")
    for section, values in changes.items():
        params[section].update(values)
    YAML().dump(params, folder / "params.yaml")
    content: dict[str, Any] = params
    return content


def run(stage: ModuleType) -> str:
    """What a module of `stages` says; it must end well."""
    result = CliRunner().invoke(stage.app, [], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output
