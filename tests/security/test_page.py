"""Attacks on `tris demo`, against a live server on loopback: none gets through, and the server prints no error."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException

from tests.attack.page import ATTACKS
from tests.attack.page_server import Attack, Server, image, picture_of, running
from tris_core.demo.guard import check_host
from tris_core.demo.limits import Limits
from tris_core.demo.server import announcement, listen
from tris_core.demo.uploads import PREFIX, Full, Uploads, upload_folder
from tris_core.runtime.errors import InputError


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(tmp_path_factory.mktemp("page")) as server:
        yield server


@pytest.mark.parametrize(
    "attack",
    ATTACKS,
    ids=lambda attack: f"{attack.group}: {attack.name}"[:80].encode("unicode_escape").decode(),
)
def test_no_attack_gets_through(attack: Attack, server: Server) -> None:
    attack.run(server)
    assert server.client.get("/nothing").status_code == 404  # it still answers
    assert server.errors.read_text() == ""


def test_a_page_is_answered_under_every_name_of_this_machine(server: Server) -> None:
    port = server.netloc.rpartition(":")[2]
    for name in ("localhost", "127.0.0.1", "[::1]", "LOCALHOST"):
        for host in (name, f"{name}:{port}"):
            assert (
                server.client.get(
                    "/config", headers={"Host": host, "Origin": f"http://{host}"}
                ).status_code
                == 200
            )


def test_an_upload_of_the_page_is_marked(server: Server) -> None:
    """The attacks fail for a reason: the same requests with a file that was uploaded are answered."""
    uploaded = image(64)
    path = server.give(uploaded)
    assert server.event("check", [picture_of(path)]).json()["data"][1] == ""
    assert '"success":true' in server.mark(picture_of(path))
    assert "<article" in server.event("mark_again", [None, 0.3]).json()["data"][0]
    assert server.file(path).content == uploaded


@pytest.mark.parametrize(
    ("host", "reached"),
    [
        ("127.0.0.1", ["127.0.0.1"]),
        ("::1", ["::1"]),
        ("0.0.0.0", ["127.0.0.1"]),
        ("::", ["::1", "127.0.0.1"]),
    ],
)
def test_addresses_to_listen_on(host: str, reached: list[str]) -> None:
    try:
        listening = listen(host, 0)
    except InputError:
        pytest.skip(f"this machine has no {host}")
    with listening:
        for address in reached:
            socket.create_connection((address, listening.getsockname()[1]), timeout=10).close()


def test_any_name_is_fine_where_the_network_is_let_in() -> None:
    check_host(Headers({"host": "box.example.org"}), None)
    with pytest.raises(HTTPException):
        check_host(Headers({"host": "box.example.org"}), {"localhost"})


def test_the_folder_of_a_killed_server_is_swept_and_that_of_a_running_one_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    hold = "import sys, time; from tris_core.demo.uploads import upload_folder\n"
    hold += "with upload_folder() as folder: print(folder, flush=True); time.sleep(600)"
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen(
        [sys.executable, "-c", hold], stdout=subprocess.PIPE, text=True, env=environment
    ) as other:
        try:
            assert other.stdout is not None
            held = Path(other.stdout.readline().strip())
            (held / "photo.png").write_bytes(b"x")
            with upload_folder() as folder:
                assert sorted(tmp_path.iterdir()) == sorted([held, folder])
            assert (held / "photo.png").exists()
            assert not folder.exists()
        finally:
            other.send_signal(signal.SIGKILL)
    assert held.exists()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / f"{PREFIX}link").symlink_to(tmp_path / "elsewhere")
    with upload_folder() as folder:
        assert not held.exists()
        assert (tmp_path / "elsewhere").exists()


def test_servers_that_start_at_once_do_not_sweep_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    lost, together = [], threading.Barrier(8)

    def start() -> None:
        for _ in range(20):
            together.wait()
            with upload_folder() as folder:
                together.wait()
                lost.extend([folder] if not folder.exists() else [])

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert lost == []


def test_uploads_on_their_way_count(tmp_path: Path) -> None:
    uploads = Uploads(tmp_path, Limits(disk_bytes=100))
    with uploads.room(60):
        with pytest.raises(Full), uploads.room(41):
            pass
        with uploads.room(40):
            pass
    with uploads.room(100):
        pass


@pytest.mark.parametrize("before", [True, False])
def test_an_upload_may_vanish_while_the_folder_is_looked_at(
    before: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Gradio's threads move and delete files; neither an upload beside it nor the sweep ends in an error."""
    uploads, stat, photo = Uploads(tmp_path, Limits(grace_s=0)), os.stat, tmp_path / "photo.png"

    def vanishing(path: Any, **how: Any) -> os.stat_result:
        """The file goes right before or after it is looked at."""
        found = None if before and path == photo else stat(path, **how)
        if path == photo:
            photo.unlink(missing_ok=True)
        return found or stat(path, **how)

    monkeypatch.setattr(os, "stat", vanishing)
    photo.touch()
    with uploads.room(1):
        assert photo not in tmp_path.iterdir()
    photo.touch()
    uploads.sweep(set(), time.time() + 1)
    assert photo not in tmp_path.iterdir()


@pytest.mark.parametrize(
    ("host", "lines"),
    [
        ("127.0.0.1", ["http://127.0.0.1:80 (Ctrl-C ends it)"]),
        ("::1", ["http://[::1]:80 (Ctrl-C ends it)"]),
        ("0.0.0.0", ["http://0.0.0.0:80 (Ctrl-C ends it)", "Anyone"]),
        ("::", ["http://[::]:80 (Ctrl-C ends it)", "Anyone"]),
        ("192.168.1.2", ["http://192.168.1.2:80 (Ctrl-C ends it)", "Anyone"]),
    ],
)
def test_letting_the_network_in_is_said_in_one_line(host: str, lines: list[str]) -> None:
    said = announcement(host, 80)
    assert [line if line.startswith("http") else line.split()[0] for line in said] == lines
