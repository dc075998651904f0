"""docs/architecture.md is true: its stages and files are those of dvc.yaml, and its rules of importing hold."""

import ast
import re
from pathlib import Path

import pyarrow as pa
import pytest
from ruamel.yaml import YAML

from tests.support.closure import ROOT, imports_of
from tris_core.annotations.index import SCHEMAS
from tris_core.responses.file import SCHEMA
from tris_core.runtime.params import sections

PAGE = (ROOT / "docs" / "architecture.md").read_text()
DIAGRAM = re.search(r"```\n(.*?)```", PAGE, re.DOTALL)[1]  # type: ignore[index]
STAGES = YAML(typ="safe").load(ROOT / "dvc.yaml")["stages"]


def table(heading: str) -> list[list[str]]:
    """The cells of the first table under a heading, its head and rule left out."""
    rows = re.search(rf"## {heading}\n.*?\n((?:\|[^\n]*\n)+)", PAGE, re.DOTALL)[1].splitlines()  # type: ignore[index]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows[2:]]


ARTIFACTS = {cells[0].strip("`"): cells[2].split(", ") for cells in table("Artifacts")}


def outputs(stage: str) -> list[str]:
    entries = [
        entry for key in ("outs", "metrics", "plots") for entry in STAGES[stage].get(key, [])
    ]
    return [entry if isinstance(entry, str) else next(iter(entry)) for entry in entries]


def test_the_diagram_has_every_stage_in_its_order_and_no_other() -> None:
    shown = re.findall(r"^ (?:    [│├]─? )?(\w+) +─►", DIAGRAM, re.MULTILINE)
    assert shown == list(STAGES)


@pytest.mark.parametrize("stage", STAGES)
def test_an_output_stands_beside_its_stage(stage: str) -> None:
    rest = DIAGRAM[re.search(rf"\b{stage} +─►", DIAGRAM).end() :]  # type: ignore[union-attr]
    own = re.split(r"\w+ +─►", rest)[0]
    for path in outputs(stage):
        assert (path if not path.startswith("data/index/") else Path(path).name) in own or (
            path.startswith("metrics/curves/") and f"`{path}`" in PAGE
        )


def test_the_doors_are_parameters() -> None:
    known = {
        f"{key}.{field.alias or name}"
        for key, section in sections().items()
        for name, field in section.model_fields.items()
    }
    doors = {
        name for cells in table("Doors") for name in re.findall(r"`([a-z_0-9]+\.\w+)`", cells[0])
    }
    assert doors <= known
    in_diagram = set(re.findall(r"◄── (\S+)", DIAGRAM))
    assert in_diagram == {door for door in doors if not door.startswith("prepare_clip")}


def test_every_table_is_described() -> None:
    assert ARTIFACTS.keys() == {
        path for stage in STAGES for path in outputs(stage) if path.endswith(".parquet")
    }
    schemas: dict[str, pa.Schema] = {
        f"data/index/{name}.parquet": schema for name, schema in SCHEMAS.items()
    }
    for path, schema in {**schemas, "data/responses.parquet": SCHEMA}.items():
        assert ARTIFACTS[path] == schema.names


def part_of(file: Path) -> str:
    """`data` of tris_core/data/rle.py, `losses` of tris_core/step1/losses.py."""
    return file.relative_to(ROOT / "tris_core").parts[0].removesuffix(".py")


def test_packages_import_what_they_may() -> None:
    may = {
        cells[0].strip("`"): set(re.findall(r"`(\w+)`", cells[1]))
        for cells in table("Who may import whom")
    }
    shared = set().union(*(may[name] for name in ("params", "data", "models", "refinement")))
    may["training"] = (
        (may["training"] - {"shapes"}) | shared | {"params", "data", "models", "refinement"}
    )
    packages = {
        path.name for path in (ROOT / "tris_core").iterdir() if (path / "__init__.py").is_file()
    }
    assert may.keys() == packages
    for package in packages:
        for file in (ROOT / "tris_core" / package).rglob("*.py"):
            imported = {part_of(found) for found in imports_of(file)} - {package}
            assert imported <= may[package], f"{file} imports {imported - may[package]}"


def test_stages_do_not_import_each_other() -> None:
    for file in (ROOT / "stages").glob("*.py"):
        assert (
            not {found.stem for found in imports_of(file) if found.parent == file.parent}
            & STAGES.keys()
        ), file


def test_nobody_opens_the_parameters_or_an_artifact_by_name() -> None:
    """Docstrings and messages may name them; the doors of users (cli, predict, experiments, reports) open those of a run."""
    for file in (ROOT / "tris_core").rglob("*.py"):
        if part_of(file) in ("cli", "predict", "experiments", "reports"):
            continue
        literals = {
            node.value
            for node in ast.walk(ast.parse(file.read_text()))
            if isinstance(node, ast.Constant)
        }
        assert not literals & {
            "params.yaml",
            *(path for stage in STAGES for path in outputs(stage)),
        }, file
