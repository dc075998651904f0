"""The rooms of `tris_core/`: what each may import, and which stages an edit of it reruns."""

from collections import defaultdict
from pathlib import Path

from tests.support.closure import ROOT, imports_of
from tests.support.stages import STAGES

LIBRARY = ROOT / "tris_core"

# Bottom to top: a room imports only rooms above it in this list.
ROOMS: dict[str, set[str]] = {
    "runtime": set(),
    "shapes": {"runtime"},
    "drawing": {"runtime"},
    "crf": {"runtime"},
    "weights": {"runtime"},
    "data": {"runtime"},
    "annotations": {"data", "runtime"},
    "responses": {"data", "runtime"},
    "clip": {"weights", "runtime"},
    "training": {"data", "runtime"},
    "evaluation": {"responses", "data", "runtime"},
    "baselines": {"clip", "runtime"},
    "step1": {"training", "clip", "weights", "data", "runtime"},
    "prms": {"step1", "runtime"},
    "irn": {"crf", "training", "clip", "weights", "data", "runtime"},
    "refinement": {"irn", "crf", "weights", "data", "runtime"},
    "step2": {"training", "clip", "weights", "data", "runtime"},
    "predict": {"step1", "step2", "clip", "weights", "data", "drawing", "runtime"},
    "reports": {"evaluation", "responses", "crf", "data", "drawing", "runtime"},
    "demo": {"predict", "training", "clip", "weights", "shapes", "data", "drawing", "runtime"},
    "cli": {
        *("demo", "predict", "reports", "refinement", "evaluation", "responses", "annotations"),
        *("step1", "step2", "clip", "weights", "data", "runtime"),
    },
}


def room_of(file: Path) -> str:
    """`step1` of tris_core/step1/losses.py, `baselines` of tris_core/baselines.py."""
    return file.relative_to(LIBRARY).parts[0].removesuffix(".py")


def files_of(room: str) -> list[Path]:
    """Every Python file of a room, sorted."""
    return sorted([*LIBRARY.glob(f"{room}.py"), *(LIBRARY / room).rglob("*.py")])


def library_imports(file: Path) -> set[Path]:
    """Other files of tris_core that a file imports, anywhere in it."""
    return {found for found in imports_of(file) if found.is_relative_to(LIBRARY)} - {file}


def stages_rerun() -> dict[str, dict[str, list[str]]]:
    """Room -> path inside it ("" for all of it) -> stages of dvc.yaml that depend on it."""
    found: dict[str, dict[str, list[str]]] = {room: defaultdict(list) for room in ROOMS}
    for stage, content in STAGES.items():
        for dependency in map(Path, content.get("deps", [])):
            if dependency.parts[0] == LIBRARY.name and dependency.parts[1] != "assets":
                inside = "/".join(dependency.parts[2:])
                found[room_of(ROOT / dependency)][inside].append(stage)
    return found
