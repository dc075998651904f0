"""dvc.yaml says the truth: every stage's deps and params are what its code reaches, its files are those it names."""

import ast
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.support.closure import ROOT, closure, sections_loaded
from tests.support.stages import NAMES, STAGES
from tris_core.runtime.params import read_params, sections


def paths(entries: list[str | dict[str, object]]) -> set[str]:
    return {entry if isinstance(entry, str) else next(iter(entry)) for entry in entries}


def test_every_stage_module_is_a_stage() -> None:
    modules = {
        file.stem for file in (ROOT / "stages").glob("*.py") if not file.stem.startswith("_")
    }
    assert modules == set(STAGES)
    assert all(stage["cmd"] == f"exec python -m stages.{name}" for name, stage in STAGES.items())


@pytest.mark.parametrize("name", NAMES)
def test_deps_are_the_modules_the_stage_reaches(name: str) -> None:
    reached = {str(file.relative_to(ROOT)) for file in closure(name)}
    declared = {path for path in paths(STAGES[name].get("deps", [])) if path.endswith(".py")}
    assert declared == reached


@pytest.mark.parametrize("name", NAMES)
def test_params_are_the_sections_the_stage_reads(name: str) -> None:
    declared = {entry.split(".")[0] for entry in STAGES[name].get("params", [])}
    assert declared == sections_loaded(name) - {"runtime"}


@pytest.mark.parametrize("name", NAMES)
def test_files_are_those_of_the_help_text(name: str) -> None:
    """Whoever reads --help learns of every data file that DVC knows of, braces like {a,b} written out."""
    declared = {
        p for key in ("deps", "outs", "metrics", "plots") for p in paths(STAGES[name].get(key, []))
    }
    tree = ast.parse((ROOT / "stages" / f"{name}.py").read_text())
    main = next(
        node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "main"
    )
    text = (ast.get_docstring(main) or "").replace("\n", " ")
    for path in declared:
        if path.endswith(".py") or path.startswith(("$", "tris_core")):
            continue
        place, stem = str(Path(path).parent), Path(path).stem
        assert path in text or (place in text and stem in text), (
            f"--help of {name} does not name {path}"
        )


@pytest.mark.parametrize("name", NAMES)
def test_help_states_inputs_outputs_and_steps(name: str) -> None:
    module = __import__(f"stages.{name}", fromlist=["app"])
    result = CliRunner().invoke(module.app, ["--help"])
    assert result.exit_code == 0
    assert all(word in result.output for word in ("Input", "Output", "1. "))


def test_only_evaluation_depends_on_the_truth() -> None:
    readers = {
        name
        for name, stage in STAGES.items()
        if "data/truth.parquet" in paths(stage.get("deps", []))
    }
    assert readers == {"evaluate_step1", "evaluate_labels", "evaluate_step2"}
    for name in NAMES:
        if not name.startswith(("evaluate", "index")):
            assert ROOT / "tris_core" / "evaluation.py" not in closure(name)


def test_library_knows_nothing_of_the_pipeline() -> None:
    for file in (ROOT / "tris_core").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            roots = {name.split(".")[0] for name in names}
            assert not roots & {"stages"}, file
            assert file.name == "experiments.py" or "dvc" not in roots, file
            assert file.parent.name == "cli" or "typer" not in roots, file
            towers = (
                "baselines.py",
                "bpe.py",
                "clip.py",
                "clip_sources.py",
                "demo_clip.py",
                "step1.py",
                "step2.py",
                "prms.py",
            )
            assert file.name in towers or "open_clip" not in roots, file


def test_params_are_the_shapes_preset() -> None:
    assert (ROOT / "params.yaml").read_text() == (ROOT / "presets" / "shapes.yaml").read_text()


@pytest.mark.parametrize("preset", sorted((ROOT / "presets").glob("*.yaml")), ids=lambda p: p.stem)
def test_every_preset_is_complete_and_valid(preset: Path) -> None:
    assert read_params(preset).keys() == sections().keys()
