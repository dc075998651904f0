"""docs/cli.md and docs/parameters.md are what their commands print now."""

import subprocess
from pathlib import Path

from tests.support.closure import ROOT
from tris_core.cli.parameters import page
from tris_core.runtime.params import sections

COMMAND = ["typer", "tris_core.cli.main", "utils", "docs", "--name", "tris", "--title"]


def test_the_reference_of_the_command_line_is_up_to_date(tmp_path: Path) -> None:
    written = tmp_path / "cli.md"
    command = [*COMMAND, "Command line", "--output", str(written)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    assert written.read_text() == (ROOT / "docs" / "cli.md").read_text()


def test_the_reference_of_the_parameters_is_up_to_date() -> None:
    assert page() == (ROOT / "docs" / "parameters.md").read_text()


def test_every_section_is_in_the_reference() -> None:
    assert all(f"## `{key}`\n" in page() for key in sections())
