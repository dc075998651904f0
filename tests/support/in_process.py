"""Run stages in the test's own process, without DVC and without start-up time."""

from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from ruamel.yaml import YAML
from typer.testing import CliRunner

from tests.support.closure import ROOT


def enter(patch: pytest.MonkeyPatch, folder: Path) -> None:
    """Make `folder` the working directory of stages, with a scratch folder inside it."""
    patch.setattr("stages._stage.end_with_parent", lambda: None)
    patch.setenv("TRIS_SCRATCH", str(folder / "scratch"))
    patch.chdir(folder)


def write_params(
    changes: dict[str, dict[str, Any]], *, preset: str = "shapes", folder: Path = Path()
) -> dict[str, Any]:
    """Write `folder`/params.yaml, a preset with some values changed, and return its content."""
    params = YAML().load(ROOT / "presets" / f"{preset}.yaml")
    for section, values in changes.items():
        params[section].update(values)
    YAML().dump(params, folder / "params.yaml")
    content: dict[str, Any] = params
    return content


def set_param(parameter: str, value: object, *, folder: Path = Path()) -> None:
    """Change one parameter of `folder`/params.yaml, such as `refine.threshold`."""
    yaml, path = YAML(), folder / "params.yaml"
    content = yaml.load(path)
    *sections, key = parameter.split(".")
    place = content
    for section in sections:
        place = place[section]
    place[key] = value
    yaml.dump(content, path)


def run(stage: ModuleType) -> str:
    """Run a module of `stages`, which must succeed, and return its output."""
    result = CliRunner().invoke(stage.app, [], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output
