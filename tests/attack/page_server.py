"""A running `tris demo` with small models and tight limits, and the requests of its page."""

import io
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from PIL import Image

from tests.support.closure import ROOT
from tests.support.tiny_models import write_tiny_models
from tris_core.demo.limits import Limits

LIMITS = Limits(sessions=40, files=40, disk_bytes=60 * 1024**2, grace_s=6, idle_s=5, body_s=5)
START = f"""
import sys
from pathlib import Path
from tris_core.demo.limits import Limits
from tris_core.demo.server import listen, serve
host, one, two = sys.argv[1:]
with listen(host, 0) as listening:
    say = lambda text: print(text, flush=True)
    serve(listening, Path(one), Path(two), browser=False, say=say, limits={LIMITS!r})
"""
SECRET = "TOP SECRET TEXT"
WAIT_S = 60  # seconds to wait for an answer; the machine may be busy


@dataclass
class Server:
    """A running server.

    Uploads go to `folder`. `outside` is a folder with a secret text and image. `errors` is the
    server's stderr.
    """

    address: str
    folder: Path
    outside: Path
    errors: Path
    numbers: dict[str, int] = field(default_factory=dict)  # ids of the page's functions

    def __post_init__(self) -> None:
        self.client = httpx.Client(
            base_url=self.address, headers={"Origin": self.address}, timeout=WAIT_S
        )
        functions = self.client.get("/config").json()["dependencies"]
        self.numbers = {each["api_name"]: each["id"] for each in functions}

    @property
    def netloc(self) -> str:
        return self.address.removeprefix("http://")

    def event(
        self, name: str, data: Any, *, to: str = "run/predict", **fields: Any
    ) -> httpx.Response:
        """Send an event of the page, with any field of its body replaced."""
        body = {"fn_index": self.numbers[name], "data": data}
        body |= {"session_hash": "attack", "event_data": None, **fields}
        headers = {"Content-Type": "application/json"}
        return self.client.post(f"/gradio_api/{to}", content=json.dumps(body), headers=headers)

    def mark(self, picture: Any, text: str = "red dog", session: str = "attack") -> str:
        """Ask the page to mark a picture; return the queue's answer, or the refusal."""
        asked = self.event("mark", [picture, text, 0.5], to="queue/join", session_hash=session)
        if asked.status_code != 200:
            return asked.text
        with self.client.stream(
            "GET", "/gradio_api/queue/data", params={"session_hash": session}
        ) as stream:
            for line in stream.iter_lines():
                if '"process_completed"' in line and asked.json()["event_id"] in line:
                    return line
        raise AssertionError("no answer")

    def upload(self, content: bytes, name: str = "photo.png") -> httpx.Response:
        return self.client.post("/gradio_api/upload", files={"files": (name, content)})

    def upload_with_room(self, content: bytes, name: str = "photo.png") -> httpx.Response:
        """Upload a file; repeat it while the server answers that its disk is full."""
        end = time.monotonic() + WAIT_S
        while (answer := self.upload(content, name)).status_code == 507 and time.monotonic() < end:
            time.sleep(0.2)
        return answer

    def give(self, content: bytes, name: str = "photo.png") -> str:
        """Upload a file, which must succeed, and return its path."""
        answer = self.upload_with_room(content, name)
        assert answer.status_code == 200, answer.text
        return answer.json()[0]

    def file(self, path: str) -> httpx.Response:
        return self.client.get(f"/gradio_api/file={path}")

    def raw(self, request: str | bytes) -> bytes:
        """Send raw bytes and read until the server closes the connection."""
        with self.connection() as connection:
            connection.sendall(request.encode() if isinstance(request, str) else request)
            parts = []
            while part := connection.recv(65536):
                parts.append(part)
        return b"".join(parts)

    def connection(self) -> socket.socket:
        url = httpx.URL(self.address)
        return socket.create_connection((url.host, url.port or 80), timeout=WAIT_S)

    def uploaded(self) -> list[Path]:
        return [path for path in self.folder.glob("*/*") if path.parent.name != "examples"]


@dataclass(frozen=True)
class Attack:
    group: str
    name: str
    run: Callable[[Server], None]


def image(side: int = 32, noise: int = 0) -> bytes:
    """A PNG of `side` x `side` pixels. Another `noise` gives other bytes."""
    file = io.BytesIO()
    Image.effect_noise((side, side), 50 + noise).save(file, "PNG")
    return file.getvalue()


def refused(answer: httpx.Response) -> None:
    """Assert a refusal in words, which reveals nothing about files or the program."""
    assert 400 <= answer.status_code < 500, f"{answer.status_code} {answer.text[:200]}"
    assert answer.json()["detail"]
    for word in (SECRET, "Traceback", "Errno", "Error:"):
        assert word not in answer.text, answer.text[:200]


def picture_of(path: str | Path, **fields: Any) -> dict[str, Any]:
    """The value that a browser sends for an uploaded file."""
    return {"path": str(path), "meta": {"_type": "gradio.FileData"}, **fields}


def loopback() -> str:
    """The loopback address: IPv6 if available, because its addresses are harder to check."""
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return "127.0.0.1"
    return "::1"


def secrets(folder: Path) -> Path:
    """A folder with files that were never uploaded."""
    folder.mkdir()
    (folder / "secret.txt").write_text(SECRET)
    Image.new("RGB", (64, 48), "red").save(folder / "secret.png")
    os.mkfifo(folder / "fifo")
    return folder


@contextmanager
def running(folder: Path) -> Iterator[Server]:
    """Run the server in a new process. All its files are in `folder`."""
    models = write_tiny_models(folder / "models")
    temporary = folder / "temporary"
    temporary.mkdir()
    command = [sys.executable, "-c", START, loopback(), *map(str, models)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(temporary)}
    with (
        (folder / "errors").open("w") as errors,
        subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=errors, text=True, env=environment
        ) as process,
    ):
        try:
            assert process.stdout is not None
            address = process.stdout.readline().split(" ")[0].strip()
            (uploads,) = temporary.glob("tris-demo-*")
            yield Server(address, uploads, secrets(folder / "outside"), folder / "errors")
            process.terminate()
            assert process.wait(WAIT_S) == 0
            assert not list(temporary.iterdir()), "uploads remain"
        finally:
            process.kill()


def until(true: Any, seconds: float = WAIT_S) -> bool:
    """Wait until `true()` holds, at most `seconds`. Returns whether it does."""
    end = time.monotonic() + seconds
    while not true():
        if time.monotonic() > end:
            return False
        time.sleep(0.2)
    return True
