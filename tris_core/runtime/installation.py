"""Checks that torch and torchvision belong together, from their versions alone.

Importing a wrong pair ends in a traceback that does not name the cause.
"""

import platform
import re
import sys
from importlib.metadata import PackageNotFoundError, distribution

from tris_core.runtime.errors import InputError

_OFFSET = 15  # torch 2.N needs torchvision 0.(N + 15)


def check_torch_pair() -> None:
    """Check the installed torch and torchvision without importing either.

    Raises `InputError` if they are from different releases or builds.
    """
    try:
        torch, vision = _version("torch"), _version("torchvision")
    except PackageNotFoundError as error:
        fix = "install tris again with its dependencies"
        raise InputError(f"{error.name} is not installed; {fix}") from error
    found, other = re.match(r"2\.(\d+)", torch), re.match(r"0\.(\d+)", vision)
    if found is None or other is None:
        return  # an older or newer numbering scheme
    build = torch.partition("+")[2]
    builds = {_build(torch), _build(vision)}
    if int(other[1]) == int(found[1]) + _OFFSET and (None in builds or len(builds) == 1):
        return
    wanted = f"0.{int(found[1]) + _OFFSET}.*"
    index = f" --index-url https://download.pytorch.org/whl/{build}" if build else ""
    problem = f"torch {torch} and torchvision {vision} do not belong together"
    raise InputError(f"{problem}; run: pip install 'torchvision=={wanted}'{index}")


def _build(version: str) -> str | None:
    """The build of an official PyTorch release, or None if it is from someone else.

    Official CUDA builds for Linux have no tag in their version.
    """
    tag = version.partition("+")[2]
    if not tag:
        return "cuda" if (sys.platform, platform.machine()) == ("linux", "x86_64") else None
    if re.fullmatch(r"cu\d+", tag):
        return "cuda"
    return tag if re.fullmatch(r"cpu|rocm[\d.]+|xpu", tag) else None


def _version(package: str) -> str:
    """The version, as `importlib.metadata.version` returns it, but faster.

    That function parses the whole README, which costs every stage milliseconds.
    """
    metadata = distribution(package).read_text("METADATA") or ""
    found = re.search(r"^Version: (\S+)", metadata, re.MULTILINE)
    return found[1] if found else ""
