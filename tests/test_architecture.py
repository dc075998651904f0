"""The rules of docs/architecture.md hold, and the page shows every stage and artifact."""

import ast
from graphlib import TopologicalSorter
from itertools import chain

import pyarrow as pa
import pytest

from tests.support.artifacts import ARTIFACTS
from tests.support.closure import ROOT, imports_of
from tests.support.rooms import LIBRARY, ROOMS, files_of, library_imports, room_of
from tests.support.stages import STAGES
from tests.support.tables import PAGE, rendered
from tris_core.annotations.index import SCHEMAS
from tris_core.responses.file import SCHEMA

ABOVE = {room: set(list(ROOMS)[:at]) for at, room in enumerate(ROOMS)}
READS_RUNS = ("cli", "predict", "reports")  # they open the results of a run by name
DIAGRAM = PAGE.read_text().split("```\n")[1]


def outputs(stage: str) -> list[str]:
    """Paths that dvc.yaml declares as outputs of a stage, metrics included."""
    entries = chain(*(STAGES[stage].get(key, []) for key in ("outs", "metrics", "plots")))
    return [entry if isinstance(entry, str) else next(iter(entry)) for entry in entries]


def test_every_room_has_a_rule() -> None:
    packages = {path.parent.name for path in LIBRARY.glob("*/__init__.py")}
    loose = {path.stem for path in LIBRARY.glob("*.py")} - {"__init__"}
    assert packages | loose == set(ROOMS)
    assert len(loose) <= 2


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_what_its_rule_says(room: str) -> None:
    """A rule lists what is imported today: an arrow that is gone is taken off the list."""
    imported = {
        room_of(found): f"{file.relative_to(ROOT)} imports {found.relative_to(ROOT)}"
        for file in files_of(room)
        for found in library_imports(file)
        if room_of(found) != room
    }
    assert not [why for name, why in imported.items() if name not in ROOMS[room]]
    assert ROOMS[room] == imported.keys()


@pytest.mark.parametrize("room", ROOMS)
def test_no_room_imports_upwards(room: str) -> None:
    assert ROOMS[room] <= ABOVE[room]


def test_no_files_import_each_other_in_a_circle() -> None:
    graph = {file: library_imports(file) for room in ROOMS for file in files_of(room)}
    TopologicalSorter(graph).prepare()  # raises CycleError, which names the files


def test_at_most_two_modules_are_in_no_room() -> None:
    assert len([file for file in LIBRARY.glob("*.py") if file.name != "__init__.py"]) <= 2


def test_no_function_takes_more_than_seven_arguments() -> None:
    for package in ("tris_core", "stages", "benchmarks"):
        for file in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text())):
                if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                    names = [a.arg for a in (*node.args.args, *node.args.kwonlyargs)]
                    taken = [name for name in names if name not in ("self", "cls")]
                    assert len(taken) <= 7, f"{file}:{node.lineno} {node.name}"


def test_stages_do_not_import_each_other() -> None:
    for file in (ROOT / "stages").glob("*.py"):
        imported = {found.stem for found in imports_of(file) if found.parent == file.parent}
        assert not imported & STAGES.keys(), file


def test_the_library_opens_neither_parameters_nor_artifacts_by_name() -> None:
    """Docstrings and messages may mention them."""
    names = {"params.yaml", *ARTIFACTS, *chain(*map(outputs, STAGES))}
    for file in chain(*(files_of(room) for room in ROOMS if room not in READS_RUNS)):
        nodes = ast.walk(ast.parse(file.read_text()))
        literals = {
            node.value
            for node in nodes
            if isinstance(node, ast.Constant) and isinstance(node.value, str)
        }
        assert not literals & names, file


def test_the_tables_of_the_page_are_up_to_date() -> None:
    page = PAGE.read_text()
    assert rendered(page) == page, "run: uv run python -m tests.support.tables"


def test_the_diagram_shows_the_stages_in_order() -> None:
    assert [word for word in DIAGRAM.split() if word in STAGES] == list(STAGES)


@pytest.mark.parametrize("stage", STAGES)
def test_the_diagram_shows_the_outputs_of_a_stage(stage: str) -> None:
    words = DIAGRAM.replace(",", "").split()
    own = words[words.index(stage) + 1 :]
    end = next((at for at, word in enumerate(own) if word in STAGES), len(own))
    assert set(outputs(stage)) <= set(own[:end])


def test_every_table_is_described() -> None:
    index = {f"data/index/{name}.parquet" for name in ("images", "refs", "expressions")}
    made = {path for stage in STAGES for path in outputs(stage) if path.endswith(".parquet")}
    assert ARTIFACTS.keys() == made | index


@pytest.mark.parametrize(
    ("path", "schema"),
    [
        *(
            (f"data/index/{name}.parquet", SCHEMAS[name])
            for name in ("images", "refs", "expressions")
        ),
        *((f"data/{name}.parquet", SCHEMAS[name]) for name in ("truth", "drops")),
        ("data/responses.parquet", SCHEMA),
    ],
)
def test_a_table_has_the_columns_described(path: str, schema: pa.Schema) -> None:
    assert ARTIFACTS[path][1] == schema.names
