"""Attacks on the page: files that were not uploaded, and URLs that the server should fetch."""

import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

import httpx

from tests.attack.page_server import SECRET, Attack, Server, image, picture_of, refused

FOREIGN: dict[str, Callable[[Server], str]] = {
    "picture": lambda server: f"{server.outside}/secret.png",
    "text": lambda server: f"{server.outside}/secret.txt",
    "/etc/hostname": lambda _: "/etc/hostname",
    "/dev/zero": lambda _: "/dev/zero",
    "FIFO": lambda server: f"{server.outside}/fifo",
    "nothing there": lambda server: f"{server.outside}/none.png",
    "link in the upload folder": lambda server: link(server, "secret.png"),
    "text behind a link": lambda server: link(server, "secret.txt"),
    "..": lambda server: f"{server.folder}/../../outside/secret.png",
    "the folder": lambda server: str(server.folder),
    "relative": lambda _: "secret.png",
    "NUL": lambda server: f"{server.folder}/\0",
}
ASKED = {
    "check": ("check", "run/predict", lambda picture: [picture]),
    "mark": ("mark", "queue/join", lambda picture: [picture, "red dog", 0.5]),
    "mark past the queue": ("mark", "run/predict", lambda picture: [picture, "red dog", 0.5]),
    "the API by name": ("check", "api/check", lambda picture: [picture]),
    "the call API": ("check", "call/check", lambda picture: [picture]),
}


def link(server: Server, name: str) -> str:
    path = server.folder / f"link-{name}"
    with suppress(FileExistsError):
        path.symlink_to(server.outside / name)
    return str(path)


def foreign(server: Server, path: Callable[[Server], str], asked: tuple[str, str, Any]) -> None:
    function, endpoint, values = asked
    refused(server.event(function, values(picture_of(path(server))), to=endpoint))


def foreign_file(server: Server, path: Callable[[Server], str]) -> None:
    with suppress(httpx.InvalidURL):
        refused(server.file(path(server)))


def theft(server: Server) -> None:
    """Make Gradio copy a file to its uploads, read the copy's name from a deep link, fetch it."""
    values = [picture_of(server.outside / "secret.txt"), "x", 0.5]
    server.event("mark", values, to="queue/join", session_hash="thief")
    made = server.client.get("/gradio_api/deep_link", params={"session_hash": "thief"})
    config = server.client.get("/config", params={"deep_link": made.text.strip('"')})
    refused(made)
    refused(config)
    copies = [path for path in server.folder.rglob("*.txt") if not path.is_symlink()]
    assert not any(SECRET in path.read_text() for path in copies)


def fetched(server: Server, attempt: Callable[[Server, str], None]) -> None:
    """The server must not connect to an address that a visitor gives."""
    calls: list[object] = []
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(1)
        listener = threading.Thread(target=lambda: calls.append(accepted(listening)))
        listener.start()
        with suppress(httpx.HTTPError):
            attempt(server, f"http://localhost:{listening.getsockname()[1]}/x.png")
        listener.join()
    assert calls == [False]


def accepted(listening: socket.socket) -> bool:
    try:
        listening.accept()[0].close()
    except TimeoutError:
        return False
    return True


def own_with_address(server: Server, url: str) -> None:
    path = server.give(image())
    assert server.event("check", [picture_of(path, url=url)]).status_code == 200


URLS: dict[str, Callable[[Server, str], None]] = {
    "path of check": lambda server, url: refused(server.event("check", [picture_of(url)])),
    "path of mark": lambda server, url: refused(
        server.event("mark", [picture_of(url), "x", 0.5], to="queue/join")
    ),
    "address beside a path": own_with_address,
    "file=": lambda server, url: refused(server.file(url)),
    "proxy=": lambda server, url: refused(server.client.get(f"/gradio_api/proxy={url}")),
}

ATTACKS = [
    *(
        Attack("foreign paths", f"{what} by {how}", partial(foreign, path=path, asked=asked))
        for what, path in FOREIGN.items()
        for how, asked in ASKED.items()
    ),
    *(
        Attack("foreign paths", f"{what} by file=", partial(foreign_file, path=path))
        for what, path in FOREIGN.items()
    ),
    Attack("foreign paths", "theft in four steps", theft),
    *(
        Attack("addresses to fetch", what, partial(fetched, attempt=attempt))
        for what, attempt in URLS.items()
    ),
]
