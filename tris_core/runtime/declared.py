"""What the stages in a dvc.yaml declare."""

from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath
from typing import Any

OUTPUTS = ("outs", "metrics", "plots")


def declared(stage: Mapping[str, Any], *kinds: str) -> list[str]:
    """Names that a stage lists under `kinds`, without those that contain `${...}`."""
    entries = [entry for kind in kinds for entry in stage.get(kind, [])]
    names = [entry if isinstance(entry, str) else next(iter(entry)) for entry in entries]
    return [name for name in names if "${" not in name]


def makers(stages: Mapping[str, Any]) -> dict[str, str]:
    """Map each declared output path to the name of its stage."""
    return {path: name for name, stage in stages.items() for path in declared(stage, *OUTPUTS)}


def maker_of(path: str, made_by: Mapping[str, str]) -> str | None:
    """The stage whose output contains `path`, or None if no stage writes it."""
    return next((made_by[place] for place in upwards(path) if place in made_by), None)


def upwards(path: str) -> Iterable[str]:
    """A path, then each of its parent folders."""
    return (str(place) for place in (PurePosixPath(path), *PurePosixPath(path).parents))
