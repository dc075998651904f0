"""Whether torch and torchvision belong together, told from their versions: importing the wrong pair ends in a traceback."""

import platform
import re
import sys
from importlib.metadata import PackageNotFoundError, distribution

from tris_core.runtime.errors import InputError

_AHEAD = 15  # torch 2.N goes with torchvision 0.(N + 15)


def check_torch_pair() -> None:
    """Raises `InputError` if the installed torch and torchvision are of different releases or builds. Imports neither."""
    try:
        torch, vision = _version("torch"), _version("torchvision")
    except PackageNotFoundError as error:
        raise InputError(
            f"{error.name} is not installed; install tris again with its dependencies"
        ) from error
    found, other = re.match(r"2\.(\d+)", torch), re.match(r"0\.(\d+)", vision)
    if found is None or other is None:
        return  # neither older nor later numbering is known here
    build = torch.partition("+")[2]
    builds = {_build(torch), _build(vision)}
    if int(other[1]) == int(found[1]) + _AHEAD and (None in builds or len(builds) == 1):
        return
    wanted = f"0.{int(found[1]) + _AHEAD}.*"
    index = f" --index-url https://download.pytorch.org/whl/{build}" if build else ""
    raise InputError(
        f"torch {torch} and torchvision {vision} do not belong together; run: pip install 'torchvision=={wanted}'{index}"
    )


def _build(version: str) -> str | None:
    """What PyTorch's own releases are built for: `cpu`, or CUDA where nothing is said on Linux; None of other builders."""
    tag = version.partition("+")[2]
    if not tag:
        return "cuda" if (sys.platform, platform.machine()) == ("linux", "x86_64") else None
    if re.fullmatch(r"cu\d+", tag):
        return "cuda"
    return tag if re.fullmatch(r"cpu|rocm[\d.]+|xpu", tag) else None


def _version(package: str) -> str:
    """As `importlib.metadata.version` gives it, which parses the whole README first and costs every stage milliseconds."""
    found = re.search(
        r"^Version: (\S+)", distribution(package).read_text("METADATA") or "", re.MULTILINE
    )
    return found[1] if found else ""
