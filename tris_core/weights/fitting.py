"""Weights against the network they are for: nothing is allocated before every name, shape and type fits."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tris_core.runtime.errors import InputError

Build = Callable[[dict[str, Any]], nn.Module]


@contextmanager
def no_such_network(path: Path) -> Iterator[None]:
    """`InputError` for whatever goes wrong while a network is built from a configuration that somebody wrote."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # open_clip and timm raise nearly anything: AssertionError, RuntimeError, IndexError, ...
        raise InputError(
            f"{path}: no network has such a configuration or shapes ({error!r}); copy the file again"
        ) from error


def skeleton(build: Build, config: dict[str, Any], path: Path) -> nn.Module:
    """The network on the meta device: names, shapes and types without memory.

    Raises `InputError` that names `path` if the configuration is of no network.
    """
    with no_such_network(path), torch.device("meta"):
        return build(config)


def fitted(state: dict[str, Tensor], network: nn.Module, path: Path) -> dict[str, Tensor]:
    """The tensors as `network` takes them: float32 whatever float they were stored in, integers as they are.

    Raises `InputError` if a tensor is missing, unexpected, of another shape or kind, or holds a value that is not finite.
    """
    expected = network.state_dict()
    both = expected.keys() & state.keys()
    faults = {
        "missing": expected.keys() - state.keys(),
        "unexpected": state.keys() - expected.keys(),
        "of another shape": {key for key in both if expected[key].shape != state[key].shape},
        "of another type": {
            key for key in both if not _same_kind(expected[key].dtype, state[key].dtype)
        },
    }
    if any(faults.values()):
        said = "; ".join(
            f"{fault}: {', '.join(sorted(keys)[:5])}{_more(keys)}"
            for fault, keys in faults.items()
            if keys
        )
        raise InputError(f"{path}: not the weights of the network; {said}")
    whole = {
        key: value.float() if value.is_floating_point() else value for key, value in state.items()
    }
    broken = [
        key
        for key, value in whole.items()
        if value.is_floating_point() and not torch.isfinite(value).all()
    ]
    if broken:
        raise InputError(
            f"{path}: {broken[0]} holds values that are not finite; train again or copy the file again"
        )
    return whole


def _same_kind(wanted: torch.dtype, found: torch.dtype) -> bool:
    return found == wanted or (found.is_floating_point and wanted.is_floating_point)


def _more(keys: set[str]) -> str:
    return f" and {len(keys) - 5} more" if len(keys) > 5 else ""
