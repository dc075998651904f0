"""Where a file of weights is: a path, or `hf://owner/repo[@revision]/file` for a file of a repository of the Hugging Face hub.

Such a file is read from the hub's cache on this machine and downloaded by `tris fetch` alone. The revision is a branch, a tag
or a commit, `main` where none is named.
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
    """The path that a location means; whether a path that was given as such exists is not looked at.

    Raises `InputError` for a hub's file that is not in the cache, with the command that gets it.
    """
    if not location.startswith(_HUB):
        return Path(location)
    repository, file, revision = _parts(location)
    cached = try_to_load_from_cache(repository, file, revision=revision)
    if not isinstance(cached, str):
        raise InputError(
            f"{location}: not in the hub's cache on this machine ({constants.HF_HUB_CACHE}), and nothing is downloaded "
            f"unasked; get it with `tris fetch {location}`"
        )
    return Path(cached)


def fetch(location: str) -> tuple[Path, str]:
    """Download a hub's file into the cache, if it is not there. Returns its path and the location of this very version.

    Raises `InputError` if the hub has no such file, does not give it, or cannot be reached.
    """
    repository, file, revision = _parts(location)
    try:
        path = Path(hf_hub_download(repository, file, revision=revision))
    except OSError as error:  # whatever the hub or the way there says
        reason = str(error).strip().splitlines()[0]
        raise InputError(
            f"{location}: not downloaded ({reason}); correct the location, or try again later"
        ) from error
    commit = path.parents[len(Path(file).parts) - 1].name
    return path, f"{_HUB}{repository}@{commit}/{file}"


def _parts(location: str) -> tuple[str, str, str | None]:
    """Repository, file and revision. Raises `InputError` if the location is not of the form."""
    found = _FORM.fullmatch(location)
    try:
        if found is None or ".." in location.split("/"):
            raise ValueError("expected hf://owner/repo/file or hf://owner/repo@revision/file")
        validate_repo_id(found["repository"])
    except (ValueError, HFValidationError) as error:
        raise InputError(f"{location}: names no file of the hub: {error}") from error
    return found["repository"], found["file"], found["revision"]
