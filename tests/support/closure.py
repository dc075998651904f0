"""What a stage reaches, read from the source: every project module it imports, and every parameter section it loads."""

import ast
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ("stages", "tris_core")


def _file_of(module: str) -> Path | None:
    path = ROOT.joinpath(*module.split("."))
    candidates = (path.with_suffix(".py"), path / "__init__.py")
    return next((file for file in candidates if file.is_file()), None)


def imports_of(file: Path) -> set[Path]:
    """Project files that one file imports, wherever in it the import stands."""
    found: set[Path] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            modules = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        else:
            continue
        for module in modules:
            if (
                module.split(".")[0] in PACKAGES
                and (path := _file_of(module))
                and path.stat().st_size
            ):
                found.add(path)
    return found


def closure(stage: str) -> set[Path]:
    """The stage's own file and every project file it reaches by imports, empty `__init__.py` left out."""
    reached, waiting = set(), [ROOT / "stages" / f"{stage}.py"]
    while waiting:
        file = waiting.pop()
        if file not in reached:
            reached.add(file)
            waiting += imports_of(file)
    return reached


def sections_loaded(stage: str) -> set[str]:
    """Keys of the parameter sections whose class any reached stage file passes to `load_section`."""
    keys: set[str] = set()
    for file in closure(stage):
        if file.parent.name != "stages":
            continue
        tree = ast.parse(file.read_text())
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "load_section":
                keys.add(_key_of(node.args[1].id))  # type: ignore[attr-defined]
    return keys


def _key_of(cls: str) -> str:
    for file in (ROOT / "tris_core" / "params").glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ClassDef) and node.name == cls:
                return next(
                    a.value.value
                    for a in node.body
                    if isinstance(a, ast.AnnAssign) and a.target.id == "key"
                )  # type: ignore[union-attr]
    raise AssertionError(f"no section class {cls}")
