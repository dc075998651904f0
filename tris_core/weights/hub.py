"""Locations of weights: a path, or `hf://owner/repo[@revision]/file` on the Hugging Face hub.

A hub file is read from the hub's cache on this machine. Only `tris fetch` downloads. The revision
is a branch, a tag or a commit, `main` by default.
"""

import re
from pathlib import Path

from huggingface_hub import constants, hf_hub_download, try_to_load_from_cache
from huggingface_hub.utils import HFValidationError, validate_repo_id

from tris_core.runtime.errors import InputError

_HUB = "hf://"
_FORM = re.compile(
    rf"{_HUB}(?P<repository>[^/@]+/[^/@]+)(@(?P<revision>[^/@\\]+))?/(?P<file>[^/@\\][^@\\]*)"
)


def local_file(location: str) -> Path:
    """The path of a location. A plain path is returned as it is, whether or not it exists.

    Raises `InputError` if a hub file is not in the cache, with the command that gets it.
    """
    if not location.startswith(_HUB):
        return Path(location)
    repository, file, revision = _parts(location)
    cached = try_to_load_from_cache(repository, file, revision=revision)
    if not isinstance(cached, str):
        raise InputError(
            f"{location}: not in the hub's cache on this machine ({constants.HF_HUB_CACHE}), "
            f"and nothing is downloaded unasked; get it with `tris fetch {location}`"
        )
    return Path(cached)


def fetch(location: str) -> tuple[Path, str]:
    """Download a hub file into the cache unless it is there.

    Returns its path and a location that names this commit.

    Raises `InputError` if the hub has no such file, denies access, or cannot be reached.
    """
    repository, file, revision = _parts(location)
    try:
        path = Path(hf_hub_download(repository, file, revision=revision))
    except OSError as error:  # of the hub or of the connection
        reason = str(error).strip().splitlines()[0]
        raise InputError(
            f"{location}: not downloaded ({reason}); correct the location, or try again later"
        ) from error
    commit = path.parents[len(Path(file).parts) - 1].name
    return path, f"{_HUB}{repository}@{commit}/{file}"


def _parts(location: str) -> tuple[str, str, str | None]:
    """Repository, file and revision. Raises `InputError` if the location is malformed."""
    found = _FORM.fullmatch(location)
    try:
        if found is None or ".." in location.split("/"):
            raise ValueError("expected hf://owner/repo/file or hf://owner/repo@revision/file")
        validate_repo_id(found["repository"])
    except (ValueError, HFValidationError) as error:
        raise InputError(f"{location}: names no file of the hub: {error}") from error
    return found["repository"], found["file"], found["revision"]
