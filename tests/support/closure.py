"""What a stage reaches, read from the source: project modules, and sections of params.yaml."""

import ast
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ("stages", "tris_core")


def _files_of(module: str) -> set[Path]:
    """The file of a module and the `__init__.py` of every package it is in, empty ones left out."""
    parts = module.split(".")
    places = [ROOT.joinpath(*parts[: n + 1]) for n in range(len(parts))]
    files = [place / "__init__.py" for place in places] + [places[-1].with_suffix(".py")]
    return {file for file in files if file.is_file() and file.stat().st_size}


def imports_of(file: Path) -> set[Path]:
    """Project files that a file imports, at its top or inside a function."""
    found: set[Path] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            modules = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        else:
            continue
        for module in modules:
            if module.split(".")[0] in PACKAGES:
                found |= _files_of(module)
    return found


def closure(stage: str) -> set[Path]:
    """The stage's own file and every project file it reaches by imports."""
    reached, waiting = set(), [ROOT / "stages" / f"{stage}.py"]
    while waiting:
        file = waiting.pop()
        if file not in reached:
            reached.add(file)
            waiting += imports_of(file)
    return reached


def sections_read(file: Path) -> set[str]:
    """Keys of the sections whose class the file passes to `run.params[...]`."""
    classes = {
        node.slice.id
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Subscript)
        and isinstance(node.value, ast.Attribute)
        and node.value.attr == "params"
        and isinstance(node.slice, ast.Name)
    }
    return {_key_of(cls) for cls in classes}


def _key_of(cls: str) -> str:
    from tris_core.runtime.params import sections

    return next(key for key, section in sections().items() if section.__name__ == cls)
