"""Attacks on the page of `tris demo`, over loopback only: `python -m tests.attack page` starts a server and tries them all.

An attack is a function that fails (`AssertionError`) if it gets through. tests/security/test_page.py runs the same ones.
"""

import concurrent.futures
import io
import json
import socket
import sys
import tempfile
import threading
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import httpx
from PIL import Image
from tabulate import tabulate

from tests.attack.page_server import LIMITS, SECRET, Server, picture_of, running, until
from tests.security.test_images import png

HALF_HEADER = "POST /gradio_api/upload HTTP/1.1\r\nHost: {0}\r\n"
HALF_BODY = (
    HALF_HEADER + "Origin: http://{0}\r\nContent-Type: multipart/form-data; boundary=b\r\nContent-Length: 1000\r\n\r\n-"
)


@dataclass(frozen=True)
class Attack:
    group: str
    name: str
    run: Callable[[Server], None]


def image(side: int = 32, noise: int = 0) -> bytes:
    """A PNG of `side` x `side` pixels; another one for another `noise`."""
    file = io.BytesIO()
    Image.effect_noise((side, side), 50 + noise).save(file, "PNG")
    return file.getvalue()


def refused(answer: httpx.Response) -> None:
    """In words, and without telling what is in a file or in the program."""
    assert 400 <= answer.status_code < 500, f"{answer.status_code} {answer.text[:200]}"
    assert answer.json()["detail"]
    for word in (SECRET, "Traceback", "Errno", "Error:"):
        assert word not in answer.text, answer.text[:200]


# Files that the page was not given -------------------------------------------------------------------------------------


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
    """Have Gradio copy a file to the upload folder, learn the copy's name from a deep link, and fetch it."""
    server.event("mark", [picture_of(server.outside / "secret.txt"), "x", 0.5], to="queue/join", session_hash="thief")
    made = server.client.get("/gradio_api/deep_link", params={"session_hash": "thief"})
    config = server.client.get("/config", params={"deep_link": made.text.strip('"')})
    refused(made)
    refused(config)
    assert not [path for path in server.folder.rglob("*.txt") if not path.is_symlink() and SECRET in path.read_text()]


def fetched(server: Server, attempt: Callable[[Server, str], None]) -> None:
    """The server must not open a connection to an address that a visitor names."""
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
    path = server.upload(image()).json()[0]
    assert server.event("check", [picture_of(path, url=url)]).status_code == 200


URLS: dict[str, Callable[[Server, str], None]] = {
    "path of check": lambda server, url: refused(server.event("check", [picture_of(url)])),
    "path of mark": lambda server, url: refused(server.event("mark", [picture_of(url), "x", 0.5], to="queue/join")),
    "address beside a path": own_with_address,
    "file=": lambda server, url: refused(server.file(url)),
    "proxy=": lambda server, url: refused(server.client.get(f"/gradio_api/proxy={url}")),
}

# Requests that the page does not make ----------------------------------------------------------------------------------

CLOSED = [
    *(f"GET /gradio_api/{name}" for name in (
        "deep_link?session_hash=attack", "openapi.json", "info", "info/", "proxy=http://localhost/", "runs", "user", "token",
        "login_check", "dev/reload", "run-history/buckets", "custom_component/1/client/component/index.js", "call/check/1",
        "stream/a/1/1/playlist.m3u8", "file/etc/hostname", "startup-events", "vibe-code", "profiling/traces", "theme.css",
    )),
    *(f"POST /gradio_api/{name}" for name in (
        "run/check", "api/check", "call/check", "call/v2/check", "component_server", "reset", "cancel", "stream/1",
        "process_recording", "vibe-edit", "vibe-starter-queries", "run-history/connect", "run/predict/",
    )),
    "GET /openapi.json", "GET /docs", "GET /redoc", "GET /monitoring", "GET /monitoring/summary", "GET /svelte/x",
    "GET /logout", "GET /?deep_link=x", "GET /config?deep_link=x", "GET /pwa_icon", "GET //config", "POST /login", "PUT /config",
    "OPTIONS /gradio_api/upload", "DELETE /config", "TRACE /",
]  # fmt: skip
TRAVERSAL = [
    *(f"/{folder}/{path}" for folder in ("assets", "static", "svelte") for path in (
        "../../../../../../etc/hostname", "..%2f..%2f..%2f..%2fetc%2fhostname", "%2e%2e/%2e%2e/etc/hostname", "/etc/hostname",
        "..%5c..%5cetc", "%00",
    )),
    *(f"/gradio_api/file={path}" for path in ("/etc/hostname", "../etc/hostname", "{folder}/../../outside/secret.txt",
      "{folder}/%2e%2e/%2e%2e/outside/secret.txt", "{folder}%00", "file:///etc/hostname", "//etc/hostname", "")),
]  # fmt: skip


def closed(server: Server, request: str) -> None:
    method, path = request.split(" ")
    headers = f"Host: {server.netloc}\r\nOrigin: {server.address}\r\nContent-Length: 0"
    status = server.raw(f"{method} {path} HTTP/1.1\r\n{headers}\r\n\r\n")
    assert status.split(b" ")[1] == b"404", status[:200]


def climb(server: Server, path: str) -> None:
    path = path.format(folder=server.folder)
    answer = server.raw(f"GET {path} HTTP/1.1\r\nHost: {server.netloc}\r\nConnection: close\r\n\r\n")
    assert answer.split(b" ")[1] in (b"400", b"404"), answer[:200]
    assert SECRET.encode() not in answer


def called(server: Server, name: str) -> int:
    answer = server.raw(f"GET /config HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n")
    return int(answer.split(b" ")[1])


HOSTS = ["example.org", "example.org:80", "localhost.example.org", "127.0.0.1.example.org", "[::1].example.org", "[::1", "",
         "example.org@localhost", "localhost:80@example.org", "0.0.0.0", "[::2]:80"]  # fmt: skip


def host(server: Server, name: str) -> None:
    assert called(server, name) == 400


ORIGINS: dict[str, dict[str, str]] = {
    "another site": {"Origin": "http://example.org"},
    "another port of this machine": {"Origin": "http://localhost:3000"},
    "a sandboxed frame": {"Origin": "null"},
    "another site by its metadata": {"Sec-Fetch-Site": "cross-site"},
    "another port by its metadata": {"Sec-Fetch-Site": "same-site"},
    "nowhere": {"Origin": ""},
    "a form": {"Origin": "http://example.org", "Content-Type": "text/plain"},
}
POSTED = {
    "an upload": lambda server: server.client.build_request("POST", "/gradio_api/upload", files={"files": ("a.png", b"x")}),
    "an event": lambda server: server.client.build_request("POST", "/gradio_api/run/predict", json={}),
    "a question": lambda server: server.client.build_request("POST", "/gradio_api/queue/join", json={}),
}


def cross_origin(server: Server, headers: dict[str, str], build: Callable[[Server], httpx.Request]) -> None:
    request = build(server)
    request.headers.update(headers)
    before = server.uploaded()
    answer = server.client.send(request)
    assert answer.status_code == 403, answer.text[:200]
    assert "access-control-allow-origin" not in answer.headers
    assert server.uploaded() == before


def reading(server: Server) -> None:
    """A page on another port of this machine reads the answers of this one."""
    answer = server.client.get("/config", headers={"Origin": "http://localhost:3000"})
    assert answer.status_code == 403
    assert "access-control-allow-origin" not in answer.headers


# Values that the page does not send -------------------------------------------------------------------------------------

EVENTS: dict[str, tuple[str, Any, dict[str, Any]]] = {
    **{f"threshold {value!r}": ("mark_again", [None, value], {}) for value in (
        0, 1, -1, 2, 1e308, float("nan"), float("inf"), "0.5", None, [0.5], {}, True)},
    **{f"sentences {value!r}": ("mark", [None, value, 0.5], {"to": "queue/join"}) for value in (5, None, [], {}, True, 0.5)},
    **{f"picture {value!r}": ("check", [value], {}) for value in (
        5, "x", [], {}, {"path": 5}, {"path": None}, {"path": []}, {"path": ""}, {"path": {"path": "x"}})},
    **{f"picked {value!r}": ("pick", [], {"event_data": value}) for value in (
        None, {}, [], 5, {"index": -1}, {"index": 4}, {"index": "0"}, {"index": None}, {"index": [0, 0]}, {"index": True})},
    **{f"data {value!r}": ("mark_again", value, {}) for value in (None, [], [None], [None, 0.5, 1], {}, "x", [{}, 0.5])},
    **{f"function {value!r}": ("check", [None], {"fn_index": value}) for value in (99, -1, "0", None, 1.5, True)},
    **{f"session {value!r}": ("check", [None], {"session_hash": value}) for value in (
        None, "", "../x", "a" * 1000, 5, [], "\n")},
    "a name of 1,000 letters": ("check", [{"path": "x", "orig_name": "a" * 1000}], {}),
}  # fmt: skip
BODIES = {
    "no JSON": b"{",
    "nothing": b"",
    "a list": b"[]",
    "100,000 brackets": b"[" * 100_000,
    "100,000 objects": b'{"a":' * 100_000,
    "half a surrogate": b'{"fn_index":0,"session_hash":"a","data":[{"path":"\\ud800"}]}',
    "no UTF-8": b'{"fn_index":0,"session_hash":"\xff"}',
    "2 MB": b" " * (2 << 20),
}


def event(server: Server, name: str, data: Any, fields: dict[str, Any]) -> None:
    refused(server.event(name, data, **fields))


def body(server: Server, content: bytes) -> None:
    refused(server.client.post("/gradio_api/run/predict", content=content, headers={"Content-Type": "application/json"}))


# Uploads ------------------------------------------------------------------------------------------------------------------


def many_files(server: Server) -> None:
    before = server.uploaded()
    refused(server.client.post("/gradio_api/upload", files=[("files", (f"{n}.png", b"x%d" % n)) for n in range(1500)]))
    assert server.uploaded() == before


def quota(server: Server) -> None:
    """A visitor uploads without end: the disk holds no more than it may, and has room again soon after."""
    statuses = [server.upload(bytes([n]) * (15 << 20), f"{n}.png").status_code for n in range(6)]
    assert 507 in statuses
    assert sum(path.stat().st_size for path in server.uploaded()) <= LIMITS.disk_bytes
    assert until(lambda: server.upload(image()).status_code == 200), "there is no room any more"


def many_small(server: Server) -> None:
    statuses = {server.upload(image(noise=n), f"{n}.png").status_code for n in range(LIMITS.files + 5)}
    assert statuses <= {200, 507}
    assert len(server.uploaded()) <= LIMITS.files
    assert until(lambda: server.upload(image()).status_code == 200), "there is no room any more"


def claimed(server: Server, header: str, status: bytes) -> None:
    """A body of this length, or of none that is told, is refused before it is sent."""
    headers = f"Host: {server.netloc}\r\nOrigin: {server.address}\r\nContent-Type: multipart/form-data; boundary=b"
    answer = server.raw(f"POST /gradio_api/upload HTTP/1.1\r\n{headers}\r\n{header}\r\n\r\n")
    assert answer.split(b" ")[1] == status


def odd_name(server: Server, name: str) -> None:
    answer = server.upload(image(), name)
    assert answer.status_code in (200, 400), answer.text
    paths = answer.json() if answer.status_code == 200 else []
    assert all(Path(path).resolve().is_relative_to(server.folder) and Path(path).is_file() for path in paths)
    assert not list(server.outside.glob("evil*"))


def script(server: Server, name: str) -> None:
    """What a visitor uploads never runs as a page of this server, not even after the page has shown it."""
    path = server.upload(b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>", name).json()[0]
    server.event("check", [picture_of(path)])
    assert "sandbox" in ", ".join(server.file(path).headers.get_list("content-security-policy"))


def bad_picture(server: Server, content: bytes) -> None:
    path = server.upload(content).json()[0]
    answer = server.event("check", [picture_of(path, orig_name="photo.png")])
    assert answer.status_code == 200
    assert 'role=\\"alert\\"' in answer.text
    assert str(server.folder) not in answer.json()["data"][1]


def gone(server: Server) -> None:
    """An upload stays as long as its page is open, and no longer."""
    with server.client.stream("GET", "/gradio_api/heartbeat/leaving") as page:
        next(page.iter_lines())
        path = Path(server.upload(image(noise=99)).json()[0])
        assert server.event("check", [picture_of(path)], session_hash="leaving").status_code == 200
        lost = Path(server.upload(image(noise=98)).json()[0])  # one that no page uses
        assert until(lambda: not lost.exists())
        assert path.exists()
    assert until(lambda: not path.exists())


# Crowds and sloths ----------------------------------------------------------------------------------------------------------


def crowd(server: Server) -> None:
    """More pages than may be open are turned away; one that closes makes room."""
    with ExitStack() as pages:
        asked = [server.client.stream("GET", f"/gradio_api/heartbeat/crowd{n}") for n in range(LIMITS.sessions + 3)]
        statuses = [pages.enter_context(page).status_code for page in asked]
        assert statuses.count(503) >= 3
    assert until(lambda: server.event("check", [None]).status_code == 200)


def slow(server: Server, beginning: str, connections: int) -> None:
    """Requests that never end are ended, and others are answered meanwhile."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(server.connection()) for _ in range(connections)]
        for each in sockets:
            each.sendall(beginning.format(server.netloc).encode())
        assert server.client.get("/config").status_code == 200
        for each in sockets:
            with suppress(ConnectionResetError):
                while each.recv(65536):  # ends in TimeoutError where the server keeps the connection
                    pass


def deaf(server: Server) -> None:
    """Clients that ask for much and read nothing are dropped."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(server.connection()) for _ in range(10)]
        asked = f"GET /config HTTP/1.1\r\nHost: {server.netloc}\r\n\r\n" * 2000
        for each in sockets:
            each.settimeout(2)
            with suppress(TimeoutError, ConnectionError):
                each.sendall(asked.encode())
        assert server.client.get("/config").status_code == 200


def long_request(server: Server, request: str) -> None:
    with suppress(ConnectionError):
        assert server.raw(request).split(b" ")[1] == b"400"
    assert server.client.get("/config").status_code == 200


def questions(server: Server) -> None:
    """Thirty at once: each is answered or told to wait."""
    path = server.upload(image(200)).json()[0]
    with concurrent.futures.ThreadPoolExecutor(30) as pool:
        answers = list(pool.map(lambda n: server.mark(picture_of(path), session=f"crowd{n % 15}"), range(30)))
    assert all('"success":true' in answer or "error" in answer for answer in answers)
    assert sum('"success":true' in answer for answer in answers) >= 10


SLOTHS = {
    "50 uploads of one byte": (HALF_BODY, 50),
    "50 half headers": (HALF_HEADER, 50),
    "50 connections without a word": ("", 50),
}
ATTACKS = [
    *(Attack("foreign paths", f"{what} by {how}", partial(foreign, path=path, asked=asked))
      for what, path in FOREIGN.items() for how, asked in ASKED.items()),
    *(Attack("foreign paths", f"{what} by file=", partial(foreign_file, path=path)) for what, path in FOREIGN.items()),
    Attack("foreign paths", "theft in four steps", theft),
    *(Attack("addresses to fetch", what, partial(fetched, attempt=attempt)) for what, attempt in URLS.items()),
    *(Attack("closed endpoints", request, partial(closed, request=request)) for request in CLOSED),
    *(Attack("traversal", path, partial(climb, path=path)) for path in TRAVERSAL),
    *(Attack("Host headers", repr(name), partial(host, name=name)) for name in HOSTS),
    *(Attack("cross-origin requests", f"{what} from {origin}", partial(cross_origin, headers=headers, build=build))
      for what, build in POSTED.items() for origin, headers in ORIGINS.items()),
    Attack("cross-origin requests", "reading", reading),
    *(Attack("values of events", what, partial(event, name=name, data=data, fields=fields))
      for what, (name, data, fields) in EVENTS.items()),
    *(Attack("values of events", what, partial(body, content=content)) for what, content in BODIES.items()),
    Attack("uploads", "1,500 files at once", many_files),
    Attack("uploads", "90 MB", quota),
    Attack("uploads", "more files than fit", many_small),
    Attack("uploads", "a body of 100 MB", partial(claimed, header="Content-Length: 100000000", status=b"413")),
    Attack("uploads", "a body of unknown length", partial(claimed, header="Transfer-Encoding: chunked", status=b"411")),
    *(Attack("uploads", f"name {name[:40]!r}", partial(odd_name, name=name))
      for name in ("../../outside/evil.png", "/etc/evil", "..", ".", "a" * 3000, "evil\0.png", "%2e%2e%2fevil", "..\\evil")),
    *(Attack("uploads", f"a script in {name}", partial(script, name=name)) for name in ("a.svg", "a.html", "a.png", "a.xhtml")),
    Attack("uploads", "kept after the page was closed", gone),
    *(Attack("pictures", what, partial(bad_picture, content=content)) for what, content in {
        "50,000 x 50,000": png(50_000, 50_000), "6,000 x 6,000": png(6_000, 6_000), "text": b"text", "nothing": b"",
        "SVG": b"<svg/>", "PostScript": b"%!PS-Adobe-3.0 EPSF-3.0\nshowpage\n"}.items()),
    *(Attack("slow and large requests", what, partial(slow, beginning=beginning, connections=connections))
      for what, (beginning, connections) in SLOTHS.items()),
    Attack("slow and large requests", "clients that do not read", deaf),
    Attack("slow and large requests", "a header of 20 MB", partial(long_request, request=f"GET / HTTP/1.1\r\nX: {'x' * 20_000_000}")),
    Attack("slow and large requests", "an address of 1 MB", partial(long_request, request="GET /" + "x" * 1_000_000)),
    Attack("crowds", "more pages than fit", crowd),
    Attack("crowds", "30 questions at once", questions),
]  # fmt: skip


def main() -> None:
    """Print what was tried and what survived, per group. Exits 1 if an attack got through."""
    counts: dict[str, list[int]] = {}
    with tempfile.TemporaryDirectory(prefix="tris-attack-") as folder, running(Path(folder)) as server:
        for attack in ATTACKS:
            counted = counts.setdefault(attack.group, [0, 0])
            counted[0] += 1
            try:
                attack.run(server)
                counted[1] += 1
            except (AssertionError, OSError, LookupError, ValueError, httpx.HTTPError) as error:
                print(f"{attack.group}: {attack.name}: {error!r}"[:300], file=sys.stderr)
        counts["traceback or warning on the server's stderr"] = [1, int(server.errors.read_text() == "")]
    print(tabulate([[group, *each] for group, each in counts.items()], headers=["attacks on the page", "tried", "survived"]))
    sys.exit(any(tried > survived for tried, survived in counts.values()))
