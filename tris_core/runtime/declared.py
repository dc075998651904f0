"""What the stages of a dvc.yaml list."""

from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath
from typing import Any

OUTPUTS = ("outs", "metrics", "plots")


def declared(stage: Mapping[str, Any], *kinds: str) -> list[str]:
    """Names that a stage lists under `kinds`, those with `${...}` in them left out."""
    entries = [entry for kind in kinds for entry in stage.get(kind, [])]
    names = [entry if isinstance(entry, str) else next(iter(entry)) for entry in entries]
    return [name for name in names if "${" not in name]


def makers(stages: Mapping[str, Any]) -> dict[str, str]:
    """The name of the stage that makes each output, by its path."""
    return {path: name for name, stage in stages.items() for path in declared(stage, *OUTPUTS)}


def maker_of(path: str, made_by: Mapping[str, str]) -> str | None:
    """The stage whose output `path` is, or is part of; None for what no stage makes."""
    return next((made_by[place] for place in upwards(path) if place in made_by), None)


def upwards(path: str) -> Iterable[str]:
    """A path, then every folder that it is in."""
    return (str(place) for place in (PurePosixPath(path), *PurePosixPath(path).parents))
