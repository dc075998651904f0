"""The Hugging Face hub on one machine: its cache on disk, and a server for downloads."""

import hashlib
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tests.support.closure import ROOT

MAIN = "a" * 40


def put(
    cache: Path,
    repository: str,
    file: str,
    content: bytes,
    commit: str = MAIN,
    ref: str | None = "main",
) -> Path:
    """Put a file into a hub cache: blobs by digest, a link per snapshot, refs that name commits."""
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


@contextmanager
def serve(files: Mapping[str, tuple[str, bytes]]) -> Iterator[str]:
    """Serve commit and content of every path on the loopback address, which is yielded."""

    class Hub(BaseHTTPRequestHandler):
        def _answer(self, *, body: bool) -> None:
            commit, content = files.get(self.path, (None, b""))
            self.send_response(200 if commit else 404)
            for name, value in (
                ("X-Repo-Commit", commit), ("ETag", f'"{hashlib.sha256(content).hexdigest()}"'),
                ("X-Error-Code", None if commit else "EntryNotFound"),
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

    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def run_fetch(
    location: str, endpoint: str, cache: Path, *, offline: bool = False
) -> subprocess.CompletedProcess[str]:
    """Run `tris fetch` in a new process: huggingface_hub reads its settings when imported."""
    place = {
        "HF_ENDPOINT": endpoint,
        "HF_HUB_CACHE": str(cache),
        "HF_HUB_OFFLINE": str(int(offline)),
        "NO_PROXY": "*",
    }
    env = {**os.environ, **place, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "tris_core.cli.main", "fetch", location]
    return subprocess.run(
        command, env=env, capture_output=True, text=True, timeout=120, check=False
    )
