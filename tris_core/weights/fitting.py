"""Weights against their network: no memory is allocated before names, shapes and types fit."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tris_core.runtime.errors import InputError

LEFT_OUT = ".visual.attnpool."  # of a backbone, see `clip.towers.build_backbone`
Build = Callable[[Any], nn.Module]
"""Builds a network with random weights from its own kind of `ModelConfig`."""


@contextmanager
def no_such_network(path: Path) -> Iterator[None]:
    """Turn any error while a network is built from a foreign configuration into `InputError`."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # open_clip and timm raise nearly anything
        raise InputError(
            f"{path}: no network has such a configuration or shapes ({error!r}); "
            "copy the file again"
        ) from error


def skeleton(build: Build, config: Any, path: Path) -> nn.Module:
    """The network on the meta device: names, shapes and types without memory.

    Raises `InputError` that names `path` if no network has this configuration.
    """
    with no_such_network(path), torch.device("meta"):
        return build(config)


def fitted(state: dict[str, Tensor], network: nn.Module, path: Path) -> dict[str, Tensor]:
    """A state dict as `network` takes it: floats of any precision as float32, integers unchanged.

    The pooling of a backbone's tower is dropped if the network has none; released files have it.

    Raises `InputError` if a tensor is missing, unexpected, of another shape or kind, or holds a
    value that is not finite.
    """
    expected = network.state_dict()
    state = {k: value for k, value in state.items() if LEFT_OUT not in k or k in expected}
    both = expected.keys() & state.keys()
    faults = {
        "missing": expected.keys() - state.keys(),
        "unexpected": state.keys() - expected.keys(),
        "of another shape": {k for k in both if expected[k].shape != state[k].shape},
        "of another type": {k for k in both if not _same_kind(expected[k].dtype, state[k].dtype)},
    }
    said = [f"{fault}: {_some(keys)}" for fault, keys in faults.items() if keys]
    if said:
        raise InputError(f"{path}: not the weights of the network; {'; '.join(said)}")
    whole = as_float32(state)
    for key, value in whole.items():
        if value.is_floating_point() and not torch.isfinite(value).all():
            raise InputError(
                f"{path}: {key} holds values that are not finite; "
                "train again or copy the file again"
            )
    return whole


def as_float32(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors with every float as float32."""
    return {k: value.float() if value.is_floating_point() else value for k, value in state.items()}


def _same_kind(wanted: torch.dtype, found: torch.dtype) -> bool:
    return found == wanted or (found.is_floating_point and wanted.is_floating_point)


def _some(keys: set[str]) -> str:
    more = f" and {len(keys) - 5} more" if len(keys) > 5 else ""
    return ", ".join(sorted(keys)[:5]) + more
