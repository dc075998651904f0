"""hf:// locations: read from the hub's cache; only `tris fetch` downloads."""

import hashlib
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.hub import MAIN, put, run_fetch, serve
from tris_core.runtime.errors import InputError
from tris_core.weights.hub import local_file

TAGGED = "b" * 40
SERVED = {
    f"/lab/clip/resolve/{revision}/nets/w.safetensors": (commit, commit.encode())
    for revision, commit in (("main", MAIN), ("v1", TAGGED))
}


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of the hub, and no network in this process."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))

    def refuse(*_: object) -> None:
        raise AssertionError("the network was asked for")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    return tmp_path / "hub"


def test_a_revision_is_a_branch_a_tag_or_a_commit(cache: Path) -> None:
    put(cache, "lab/clip", "nets/w.pt", b"new")
    put(cache, "lab/clip", "nets/w.pt", b"old", TAGGED, "v1")
    for behind, content in (
        ("", b"new"),
        ("@main", b"new"),
        ("@v1", b"old"),
        (f"@{TAGGED}", b"old"),
    ):
        assert local_file(f"hf://lab/clip{behind}/nets/w.pt").read_bytes() == content
    assert local_file("weights/w.pt") == Path("weights/w.pt")


@pytest.mark.parametrize(
    "location", ["hf://lab/clip/w.pt", "hf://lab/clip@v2/nets/w.pt", "hf://lab/other/nets/w.pt"]
)
def test_a_file_missing_from_the_cache_names_the_command(location: str, cache: Path) -> None:
    put(cache, "lab/clip", "nets/w.pt", b"new")
    with pytest.raises(InputError, match=f"`tris fetch {location}`") as error:
        local_file(location)
    assert str(cache) in str(error.value)


@pytest.mark.parametrize(
    "location",
    [
        "hf://", "hf://lab/clip", "hf://lab/clip/", "hf://lab/clip/w.pt@v1", "hf://lab/clip@/w.pt", "hf://lab/clip//etc/passwd",
        "hf://lab/clip/../../w.pt", "hf://lab/clip@../../w", "hf://lab/cl ip/w.pt", "hf://lab/clip/a\\..\\w.pt",
    ],
)  # fmt: skip
def test_a_malformed_location_is_refused(location: str, cache: Path) -> None:
    with pytest.raises(InputError, match="names no file of the hub"):
        local_file(location)


@pytest.fixture
def hub() -> Iterator[str]:
    with serve(SERVED) as endpoint:
        yield endpoint


def test_fetch_downloads_and_pins(cache: Path, hub: str) -> None:
    def fetch(location: str, *, offline: bool = False) -> subprocess.CompletedProcess[str]:
        return run_fetch(location, hub, cache, offline=offline)

    location, tagged = "hf://lab/clip/nets/w.safetensors", "hf://lab/clip@v1/nets/w.safetensors"
    done = fetch(tagged)
    assert done.returncode == 0, done.stderr
    assert hashlib.sha256(TAGGED.encode()).hexdigest() in done.stdout
    pinned = f"hf://lab/clip@{TAGGED}/nets/w.safetensors"
    assert pinned in done.stdout
    for known in (pinned, tagged):
        assert local_file(known).read_text() == TAGGED
    with pytest.raises(InputError, match="tris fetch"):
        local_file(location)
    absent = fetch("hf://lab/clip/absent.pt")
    for refused in (absent, fetch(location, offline=True)):
        assert refused.returncode == 1
        assert "Traceback" not in refused.stderr
        assert "not downloaded" in refused.stderr
    with pytest.raises(InputError, match="tris fetch"):
        local_file(location)
