"""Attacks on the page: requests and values that it never sends, and foreign senders."""

from functools import partial
from typing import Any

from tests.attack.page_server import SECRET, Attack, Server, refused

CLOSED = [
    *(f"GET /gradio_api/{name}" for name in (
        "deep_link?session_hash=attack", "openapi.json", "info", "info/", "proxy=http://localhost/",
        "runs", "user", "token", "login_check", "dev/reload", "run-history/buckets",
        "custom_component/1/client/component/index.js", "call/check/1",
        "stream/a/1/1/playlist.m3u8", "file/etc/hostname", "startup-events", "vibe-code",
        "profiling/traces", "theme.css",
    )),
    *(f"POST /gradio_api/{name}" for name in (
        "run/check", "api/check", "call/check", "call/v2/check", "component_server", "reset",
        "cancel", "stream/1", "process_recording", "vibe-edit", "vibe-starter-queries",
        "run-history/connect", "run/predict/",
    )),
    "GET /openapi.json", "GET /docs", "GET /redoc", "GET /monitoring", "GET /monitoring/summary",
    "GET /svelte/x", "GET /logout", "GET /?deep_link=x", "GET /config?deep_link=x",
    "GET /pwa_icon", "GET //config", "POST /login", "PUT /config", "OPTIONS /gradio_api/upload",
    "DELETE /config", "TRACE /",
]  # fmt: skip
TRAVERSAL = [
    *(f"/{folder}/{path}" for folder in ("assets", "static", "svelte") for path in (
        "../../../../../../etc/hostname", "..%2f..%2f..%2f..%2fetc%2fhostname",
        "%2e%2e/%2e%2e/etc/hostname", "/etc/hostname", "..%5c..%5cetc", "%00",
    )),
    *(f"/gradio_api/file={path}" for path in (
        "/etc/hostname", "../etc/hostname", "{folder}/../../outside/secret.txt",
        "{folder}/%2e%2e/%2e%2e/outside/secret.txt", "{folder}%00", "file:///etc/hostname",
        "//etc/hostname", "",
    )),
]  # fmt: skip


def closed(server: Server, request: str) -> None:
    method, path = request.split(" ")
    headers = f"Host: {server.netloc}\r\nOrigin: {server.address}\r\nContent-Length: 0"
    status = server.raw(f"{method} {path} HTTP/1.1\r\n{headers}\r\n\r\n")
    assert status.split(b" ")[1] == b"404", status[:200]


def climb(server: Server, path: str) -> None:
    headers = f"Host: {server.netloc}\r\nConnection: close"
    answer = server.raw(f"GET {path.format(folder=server.folder)} HTTP/1.1\r\n{headers}\r\n\r\n")
    assert answer.split(b" ")[1] in (b"400", b"404"), answer[:200]
    assert SECRET.encode() not in answer


def called(server: Server, name: str) -> int:
    answer = server.raw(f"GET /config HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n")
    return int(answer.split(b" ")[1])


HOSTS = [
    "example.org", "example.org:80", "localhost.example.org", "127.0.0.1.example.org",
    "[::1].example.org", "[::1", "", "example.org@localhost", "localhost:80@example.org",
    "0.0.0.0", "[::2]:80",
]  # fmt: skip


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
POSTED: dict[str, tuple[str, dict[str, Any]]] = {
    "an upload": ("upload", {"files": {"files": ("a.png", b"x")}}),
    "an event": ("run/predict", {"json": {}}),
    "a question": ("queue/join", {"json": {}}),
}


def cross_origin(server: Server, headers: dict[str, str], to: str, content: dict[str, Any]) -> None:
    request = server.client.build_request("POST", f"/gradio_api/{to}", **content)
    request.headers.update(headers)
    before = server.uploaded()
    answer = server.client.send(request)
    assert answer.status_code == 403, answer.text[:200]
    assert "access-control-allow-origin" not in answer.headers
    assert server.uploaded() == before


def reading(server: Server) -> None:
    """A page on another port of this machine must not read answers of this server."""
    answer = server.client.get("/config", headers={"Origin": "http://localhost:3000"})
    assert answer.status_code == 403
    assert "access-control-allow-origin" not in answer.headers


THRESHOLDS = (0, 1, -1, 2, 1e308, float("nan"), float("inf"), "0.5", None, [0.5], {}, True)
SENTENCES = (5, None, [], {}, True, 0.5)
PICTURES = (
    5, "x", [], {}, {"path": 5}, {"path": None}, {"path": []}, {"path": ""},
    {"path": {"path": "x"}},
)  # fmt: skip
PICKED = (
    None, {}, [], 5, {"index": -1}, {"index": 4}, {"index": "0"}, {"index": None},
    {"index": [0, 0]}, {"index": True},
)  # fmt: skip
DATA = (None, [], [None], [None, 0.5, 1], {}, "x", [{}, 0.5])
FUNCTIONS = (99, -1, "0", None, 1.5, True)
SESSIONS = (None, "", "../x", "a" * 1000, 5, [], "\n")
QUEUE = {"to": "queue/join"}
EVENTS: dict[str, tuple[str, Any, dict[str, Any]]] = {
    **{f"threshold {value!r}": ("mark_again", [None, value], {}) for value in THRESHOLDS},
    **{f"sentences {value!r}": ("mark", [None, value, 0.5], QUEUE) for value in SENTENCES},
    **{f"picture {value!r}": ("check", [value], {}) for value in PICTURES},
    **{f"picked {value!r}": ("pick", [], {"event_data": value}) for value in PICKED},
    **{f"data {value!r}": ("mark_again", value, {}) for value in DATA},
    **{f"function {value!r}": ("check", [None], {"fn_index": value}) for value in FUNCTIONS},
    **{f"session {value!r}": ("check", [None], {"session_hash": value}) for value in SESSIONS},
    "a name of 1,000 letters": ("check", [{"path": "x", "orig_name": "a" * 1000}], {}),
}
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
    headers = {"Content-Type": "application/json"}
    refused(server.client.post("/gradio_api/run/predict", content=content, headers=headers))


ATTACKS = [
    *(Attack("closed endpoints", request, partial(closed, request=request)) for request in CLOSED),
    *(Attack("traversal", path, partial(climb, path=path)) for path in TRAVERSAL),
    *(Attack("Host headers", repr(name), partial(host, name=name)) for name in HOSTS),
    *(
        Attack(
            "cross-origin requests",
            f"{what} from {origin}",
            partial(cross_origin, headers=headers, to=to, content=content),
        )
        for what, (to, content) in POSTED.items()
        for origin, headers in ORIGINS.items()
    ),
    Attack("cross-origin requests", "reading", reading),
    *(
        Attack("values of events", what, partial(event, name=name, data=data, fields=fields))
        for what, (name, data, fields) in EVENTS.items()
    ),
    *(
        Attack("values of events", what, partial(body, content=content))
        for what, content in BODIES.items()
    ),
]
