"""The parameters of a run, without a file of parameters."""

from typing import Any

from tests.support.closure import ROOT
from tris_core.runtime.params import RuntimeParams, read_params


def runtime_params(**changes: Any) -> RuntimeParams:
    """Those of the embedded default, with changes."""
    default = read_params(ROOT / "presets" / "shapes.yaml")[RuntimeParams]
    return default.model_copy(update=changes)
