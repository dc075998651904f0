"""dvc.yaml declares exactly the code, parameters and data that each stage uses."""

import ast
from pathlib import Path
from typing import Any

import pytest
from dvc.utils.serialize import modify_yaml
from ruamel.yaml import YAML
from typer.testing import CliRunner

from tests.support.closure import ROOT, closure, sections_read
from tests.support.stages import NAMES, STAGES
from tris_core.runtime.params import read_params, sections


def paths(entries: list[str | dict[str, object]]) -> set[str]:
    return {entry if isinstance(entry, str) else next(iter(entry)) for entry in entries}


def code_deps(name: str) -> set[Path]:
    """Source files and folders that dvc.yaml declares for a stage."""
    deps = {ROOT / path for path in paths(STAGES[name]["deps"]) if "assets" not in path}
    return {
        path for path in deps if path.is_relative_to(ROOT / "tris_core") or path.suffix == ".py"
    }


def test_every_stage_module_is_a_stage() -> None:
    modules = {
        file.stem for file in (ROOT / "stages").glob("*.py") if not file.stem.startswith("_")
    }
    assert modules == set(STAGES)
    assert all(stage["cmd"] == f"exec python -m stages.{name}" for name, stage in STAGES.items())


@pytest.mark.parametrize("name", NAMES)
def test_every_imported_file_is_declared(name: str) -> None:
    """Except `stages/__init__.py`, which checks the installation and changes no output."""
    declared = code_deps(name) | {ROOT / "stages" / "__init__.py"}
    missed = {f for f in closure(name) if not any(f.is_relative_to(dep) for dep in declared)}
    assert not missed


@pytest.mark.parametrize("name", NAMES)
def test_every_declared_dependency_is_imported(name: str) -> None:
    reached = closure(name)
    idle = {dep for dep in code_deps(name) if not any(f.is_relative_to(dep) for f in reached)}
    assert not idle


@pytest.mark.parametrize("name", NAMES)
def test_every_section_that_a_stage_reads_is_declared(name: str) -> None:
    """Except `runtime`, which changes no output, and `dataset.root` outside the stage `index`."""
    declared = {entry.split(".")[0] for entry in STAGES[name].get("params", [])}
    files = {f for f in closure(name) if f.parent.name == "stages" and f.stem.startswith("_")}
    shared = set().union(*map(sections_read, files)) - {"dataset"}
    assert declared == (shared | sections_read(ROOT / "stages" / f"{name}.py")) - {"runtime"}


def test_dynamic_imports_are_known() -> None:
    """The tests above cannot see dynamic imports.

    `sections` imports every `params.py` to validate all sections. This can stop a stage but does
    not change its outputs. `open_log` imports third-party packages.
    """
    files = {
        str(file.relative_to(ROOT))
        for package in ("tris_core", "stages")
        for file in (ROOT / package).rglob("*.py")
        if {"import_module", "__import__", "runpy"}
        & set(file.read_text().replace("(", " ").split())
        or "import_module" in file.read_text()
    }
    assert files == {"tris_core/runtime/params.py", "tris_core/training/loggers.py"}


@pytest.mark.parametrize("name", NAMES)
def test_the_help_text_names_every_declared_file(name: str) -> None:
    """The help text of a stage names every data file that dvc.yaml declares for it."""
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
        named = path in text or (place in text and stem in text)
        assert named, f"--help of {name} does not name {path}"


@pytest.mark.parametrize("name", NAMES)
def test_help_states_inputs_outputs_and_steps(name: str) -> None:
    module = __import__(f"stages.{name}", fromlist=["app"])
    result = CliRunner().invoke(module.app, ["--help"])
    assert result.exit_code == 0
    assert all(word in result.output for word in ("Input", "Output", "1. "))


def test_only_evaluation_reads_the_ground_truth() -> None:
    readers = {n for n in NAMES if "data/truth.parquet" in paths(STAGES[n]["deps"])}
    assert readers == {n for n in NAMES if n.startswith("evaluate")} | {"draw_sheets"}
    for name in set(NAMES) - readers:
        assert not any(f.parent.name == "evaluation" for f in closure(name)), name


OPEN_CLIP = {"baselines.py", "bpe.py", "imagenet.py", "names.py", "towers.py", "sources.py",
             "recompute.py", "train_clip.py", "network.py", "scorer.py", "scores.py",
             "training.py"}  # fmt: skip


def test_the_library_does_not_depend_on_the_pipeline() -> None:
    for file in (ROOT / "tris_core").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            roots = {name.split(".")[0] for name in names}
            assert "stages" not in roots, file
            assert file.name == "experiments.py" or "dvc" not in roots, file
            assert file.parent.name == "cli" or "typer" not in roots, file
            assert file.name in OPEN_CLIP or "open_clip" not in roots, file


def test_params_yaml_is_the_shapes_preset() -> None:
    assert (ROOT / "params.yaml").read_text() == (ROOT / "presets" / "shapes.yaml").read_text()


@pytest.mark.parametrize("preset", sorted((ROOT / "presets").glob("*.yaml")), ids=lambda p: p.stem)
def test_every_preset_is_complete_and_valid(preset: Path) -> None:
    assert read_params(preset).keys() == sections().keys()


def test_no_parameter_has_a_name_that_the_run_cache_ignores() -> None:
    """DVC leaves every key `size` and `nfiles` out of its run-cache (dvc#10296).

    After a change of such a parameter it would restore the old result.
    """

    def keys(content: dict[str, Any]) -> set[str]:
        inner = (keys(value) for value in content.values() if isinstance(value, dict))
        return content.keys() | set().union(*inner)

    content = YAML(typ="safe").load(ROOT / "params.yaml")
    assert "side" in keys(content)
    assert not keys(content) & {"size", "nfiles"}


def test_freezing_a_stage_changes_one_line(tmp_path: Path) -> None:
    """dvc.yaml is formatted as DVC writes it: `dvc freeze` and `unfreeze` leave it as it is."""
    frozen = tmp_path / "dvc.yaml"
    frozen.write_text((ROOT / "dvc.yaml").read_text())
    with modify_yaml(str(frozen)) as content:
        content["stages"]["refine"]["frozen"] = True
    before, after = ((ROOT / "dvc.yaml").read_text(), frozen.read_text())
    assert after.replace("    frozen: true\n", "") == before


def test_dvc_yaml_is_short() -> None:
    assert len((ROOT / "dvc.yaml").read_text().splitlines()) <= 200
