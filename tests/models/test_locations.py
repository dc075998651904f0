"""hf:// locations: read from the hub's cache without the network, downloaded by `tris fetch` alone."""

import hashlib
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.pipeline.closure import ROOT
from tris_core.errors import InputError
from tris_core.models.locations import local_file

MAIN, TAGGED = "a" * 40, "b" * 40
FILES = {f"/lab/clip/resolve/{revision}/nets/w.safetensors": commit for revision, commit in (("main", MAIN), ("v1", TAGGED))}


def put(cache: Path, repository: str, file: str, content: bytes, commit: str = MAIN, ref: str | None = "main") -> Path:
    """A file in a hub's cache as huggingface_hub lays it out: blobs by digest, a link per snapshot, refs that name commits."""
    folder = cache / f"models--{repository.replace('/', '--')}"
    blob = folder / "blobs" / hashlib.sha256(content).hexdigest()
    link = folder / "snapshots" / commit / file
    for path in (blob, link):
        path.parent.mkdir(parents=True, exist_ok=True)
    blob.write_bytes(content)
    link.symlink_to(os.path.relpath(blob, link.parent))
    if ref is not None:
        (folder / "refs").mkdir(exist_ok=True)
        (folder / "refs" / ref).write_text(commit)
    return link


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
    for behind, content in (("", b"new"), ("@main", b"new"), ("@v1", b"old"), (f"@{TAGGED}", b"old")):
        assert local_file(f"hf://lab/clip/nets/w.pt{behind}").read_bytes() == content
    assert local_file("weights/w.pt") == Path("weights/w.pt")


@pytest.mark.parametrize("location", ["hf://lab/clip/w.pt", "hf://lab/clip/nets/w.pt@v2", "hf://lab/other/nets/w.pt"])
def test_what_is_not_in_the_cache_is_to_be_fetched(location: str, cache: Path) -> None:
    put(cache, "lab/clip", "nets/w.pt", b"new")
    with pytest.raises(InputError, match=f"`tris fetch {location}`") as error:
        local_file(location)
    assert str(cache) in str(error.value)


@pytest.mark.parametrize(
    "location",
    [
        "hf://", "hf://lab/clip", "hf://lab/clip/", "hf://lab/clip@v1/w.pt", "hf://lab/clip/w.pt@", "hf://lab/clip//etc/passwd",
        "hf://lab/clip/../../w.pt", "hf://lab/clip/w.pt@../../w", "hf://lab/cl ip/w.pt", "hf://lab/clip/a\\..\\w.pt",
    ],
)  # fmt: skip
def test_what_names_no_file_of_the_hub_is_refused(location: str, cache: Path) -> None:
    with pytest.raises(InputError, match="names no file of the hub"):
        local_file(location)


class Hub(BaseHTTPRequestHandler):
    """As much of the hub as a download asks for; the content of a file is its commit's name."""

    def _answer(self, *, body: bool) -> None:
        commit = FILES.get(self.path)
        content = (commit or "").encode()
        self.send_response(200 if commit else 404)
        for name, value in (
            ("X-Repo-Commit", commit), ("ETag", f'"{commit}"'), ("X-Error-Code", None if commit else "EntryNotFound"),
            ("Content-Length", str(len(content))),
        ):  # fmt: skip
            if value is not None:
                self.send_header(name, value)
        self.end_headers()
        if body:
            self.wfile.write(content)

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def hub() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_fetch_downloads_and_pins(cache: Path, hub: str) -> None:
    def fetch(location: str, *, offline: str = "0") -> subprocess.CompletedProcess[str]:
        place = {"HF_ENDPOINT": hub, "HF_HUB_CACHE": str(cache), "HF_HUB_OFFLINE": offline, "NO_PROXY": "*"}
        env = {**os.environ, **place, "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-m", "tris_core.cli", "fetch", location]
        return subprocess.run(command, env=env, capture_output=True, text=True, timeout=120, check=False)

    location = "hf://lab/clip/nets/w.safetensors"
    done = fetch(f"{location}@v1")
    assert done.returncode == 0, done.stderr
    assert hashlib.sha256(TAGGED.encode()).hexdigest() in done.stdout
    pinned = f"{location}@{TAGGED}"
    assert pinned in done.stdout
    for known in (pinned, f"{location}@v1"):
        assert local_file(known).read_text() == TAGGED
    with pytest.raises(InputError, match="tris fetch"):
        local_file(location)
    absent = fetch("hf://lab/clip/absent.pt")
    for refused in (absent, fetch(location, offline="1")):
        assert refused.returncode == 1
        assert "Traceback" not in refused.stderr
        assert "not downloaded" in refused.stderr
    with pytest.raises(InputError, match="tris fetch"):
        local_file(location)
