"""Reading and validating `params.yaml`.

Sections are frozen and complete. Unknown names and values out of range are refused.
"""

import importlib
import reprlib
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

import tris_core
from tris_core.runtime.errors import InputError


class Section(BaseModel):
    """One section of `params.yaml`; `key` is its name there.

    No field has a default: the file is the only source of values.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)
    key: ClassVar[str]


S = TypeVar("S", bound=Section)


def sections() -> dict[str, type[Section]]:
    """Every section by its key, found in the `params` module of each room of `tris_core`."""
    for file in Path(tris_core.__path__[0]).glob("*/params.py"):
        importlib.import_module(f"tris_core.{file.parent.name}.params")
    return {cls.key: cls for cls in _subclasses(Section) if "key" in vars(cls)}


def _subclasses(cls: type[Section]) -> list[type[Section]]:
    return [found for sub in cls.__subclasses__() for found in (sub, *_subclasses(sub))]


class Params:
    """The sections of a parameter file, looked up by class: `params[TrainStep1Params]`."""

    def __init__(self, by_key: dict[str, Section]) -> None:
        self._by_key = by_key

    def __getitem__(self, cls: type[S]) -> S:
        section = self._by_key[cls.key]
        assert isinstance(section, cls)
        return section

    def keys(self) -> set[str]:
        """Names of the sections."""
        return set(self._by_key)


def read_params(path: Path) -> Params:
    """Read and validate a parameter file. Raises one `InputError` that lists all faults."""
    if not path.is_file():
        raise InputError(f"{path}: not found; copy a file of presets/ there")
    try:
        content = YAML(typ="safe").load(path)
    except (YAMLError, ValueError, RecursionError) as error:  # ValueError: not UTF-8
        raise InputError(f"{path}: not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise InputError(f"{path}: expected sections, found {type(content).__name__}")
    known = sections()
    faults = [
        f"{name}: unknown section; known are {', '.join(sorted(known))}"
        for name in content.keys() - known.keys()
    ]
    read: dict[str, Section] = {}
    for name, cls in known.items():
        if name not in content:
            faults.append(f"{name}: this section is missing")
            continue
        try:
            read[name] = cls.model_validate(content[name])
        except ValidationError as error:
            faults += [_fault(name, dict(detail)) for detail in error.errors()]
    if faults:
        raise InputError(*(f"{path}: {fault}" for fault in sorted(faults)))
    return Params(read)


def _fault(section: str, detail: dict[str, Any]) -> str:
    where = ".".join([section, *(str(part) for part in detail["loc"])])
    if detail["type"] == "extra_forbidden":
        return f"{where}: unknown parameter; remove it or correct its name"
    if detail["type"] == "missing":
        return f"{where}: this parameter is missing"
    return f"{where} = {reprlib.repr(detail['input'])[:200]}: {detail['msg']}"


Precision = Literal["fp32", "tf32", "bf16"]
"""Of convolutions and matrix products. `tf32` is `fp32` on a CPU."""


class RuntimeParams(Section):
    """How a run uses this machine.

    `processes` share trainings and per-image work: one per GPU, or several on a CPU. Each uses
    `threads` torch threads and `workers` CPU processes; 0 is its share of the cores.
    `device: auto` uses a GPU that no other run uses and whose memory is free, and waits for one if
    there is none; `cuda` does not look. On a machine without GPUs `auto` is the CPU. A training
    saves a checkpoint to resume from every `checkpoint_seconds`. `logger` is where it logs losses
    besides metrics/curves, see `tris_core.training.loggers`.

    With `recompute`, CLIP's blocks keep only their inputs for the backward pass and compute the
    rest again: less memory, more time, the same numbers. With `compile`, trainings run through
    torch.compile, which changes the last digits. No stage depends on this section, so DVC does not
    tell such results apart.
    """

    key: ClassVar[str] = "runtime"

    processes: int = Field(ge=1)
    device: Literal["auto", "cpu", "cuda"]
    threads: int = Field(ge=0)
    workers: int = Field(ge=0)
    checkpoint_seconds: float = Field(ge=0)
    recompute: bool
    compile: bool
    logger: Literal["csv", "tensorboard", "wandb"]


class DatasetParams(Section):
    """The data set and where its files are.

    `root` is the folder that contains everything. `annotations` is a path relative to it: a folder
    with `instances.json` and `refs(<split_by>).p` (`refer/<name>` in refer's downloads), ReferIt's
    folder of pickles (`referit/annotations`), or the .csv or .parquet file of a `list`. `split_by`
    is the partition: `none` for referit and list, `demo` for shapes.

    An absolute root also works in the copies of the repository that `dvc exp run --temp` and
    `--queue` make.
    """

    key: ClassVar[str] = "dataset"

    name: Literal["shapes", "refcoco", "refcoco+", "refcocog", "referit", "list"]
    split_by: Literal["demo", "unc", "google", "umd", "none"]
    root: str = Field(min_length=1)
    annotations: str = Field(min_length=1)
