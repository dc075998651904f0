"""Links, parameters and commands in the documents exist, and the README's code runs."""

import re
from pathlib import Path

import numpy as np
import pytest
import typer
from PIL import Image

from tests.support.closure import ROOT
from tris_core.cli.main import app
from tris_core.runtime.params import sections

PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
CODE = sorted(path for place in ("tris_core", "stages") for path in (ROOT / place).rglob("*.py"))
NOT_PARAMETERS = {"md", "sh", "py", "png", "patch", "yaml", "json", "csv", "parquet"}
page_by_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives the headings of a page."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@page_by_page
def test_links_inside_the_project_resolve(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if not link.startswith(("https://", "http://")):
            path, _, anchor = link.partition("#")
            target = (page.parent / path) if path else page
            assert target.exists(), link
            assert not anchor or anchor in anchors(target), link


@page_by_page
def test_parameters_exist(page: Path) -> None:
    known = sections()
    for section, name in re.findall(r"(?:`|-S )(\w+)\.(\w+)", page.read_text()):
        if section in known and name not in NOT_PARAMETERS:
            fields = {field.alias or key for key, field in known[section].model_fields.items()}
            assert name in fields, f"{section}.{name}"


@page_by_page
def test_commands_exist(page: Path) -> None:
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    for name in re.findall(r"(?:`|uv run |^)tris ([a-z][\w-]*)", page.read_text(), re.MULTILINE):
        assert name in commands, name


def test_the_code_cites_sections_that_exist() -> None:
    known = anchors(ROOT / "docs" / "paper_vs_code.md")
    for file in CODE:
        cited = re.findall(r"paper_vs_code\.md#([\w-]+)", file.read_text())
        assert set(cited) <= known, file


def test_the_readme_is_a_page() -> None:
    text = (ROOT / "README.md").read_text()
    assert len(text.splitlines()) <= 170
    assert len(text.split()) <= 1200


def test_the_python_of_the_readme_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fences = re.findall(r"^```python\n(.*?)^```$", (ROOT / "README.md").read_text(), re.M | re.S)
    rng = np.random.default_rng(0)
    blocks = Image.fromarray(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8))
    blocks.resize((160, 120), Image.Resampling.NEAREST).save(tmp_path / "photo.jpg")
    monkeypatch.chdir(tmp_path)
    for fence in fences:
        exec(fence, {})
    assert "(120, 160)" in capsys.readouterr().out
