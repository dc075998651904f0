"""Attacks on the page: uploads, many visitors, and requests that are large or never end."""

import concurrent.futures
import socket
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path

from tests.attack.page_server import LIMITS, Attack, Server, image, picture_of, refused, until
from tests.support.png import png

FORM = "Content-Type: multipart/form-data; boundary=b"


def many_files(server: Server) -> None:
    before = server.uploaded()
    files = [("files", (f"{n}.png", b"x%d" % n)) for n in range(1500)]
    refused(server.client.post("/gradio_api/upload", files=files))
    assert not set(server.uploaded()) - set(before)  # the sweep may take earlier ones meanwhile


def quota(server: Server) -> None:
    """Endless uploads stay within the disk quota, and there is room again soon after."""
    statuses = [server.upload(bytes([n]) * (15 << 20), f"{n}.png").status_code for n in range(6)]
    assert 507 in statuses
    assert sum(path.stat().st_size for path in server.uploaded()) <= LIMITS.disk_bytes
    server.give(image())  # there is room again


def many_small(server: Server) -> None:
    answers = [server.upload(image(noise=n), f"{n}.png") for n in range(LIMITS.files + 5)]
    assert {answer.status_code for answer in answers} <= {200, 507}
    assert len(server.uploaded()) <= LIMITS.files
    server.give(image())  # there is room again


def claimed(server: Server, header: str, status: bytes, to: str = "upload") -> None:
    """A body of forbidden or unknown length is refused before it is sent."""
    sender = f"Host: {server.netloc}\r\nOrigin: {server.address}"
    request = f"POST /gradio_api/{to} HTTP/1.1\r\n{sender}\r\n{FORM}\r\n{header}\r\n\r\n"
    answer = server.raw(request)
    assert answer.split(b" ")[1] == status


def odd_name(server: Server, name: str) -> None:
    answer = server.upload_with_room(image(), name)
    assert answer.status_code in (200, 400), answer.text
    paths = answer.json() if answer.status_code == 200 else []
    for path in map(Path, paths):
        assert path.is_file()
        assert path.resolve().is_relative_to(server.folder)
    assert not list(server.outside.glob("evil*"))


def script(server: Server, name: str) -> None:
    """An uploaded script never runs as a page of this server, even after the page has shown it."""
    content = b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>"
    path = server.give(content, name)
    server.event("check", [picture_of(path)])
    assert "sandbox" in ", ".join(server.file(path).headers.get_list("content-security-policy"))


def bad_picture(server: Server, content: bytes) -> None:
    path = server.give(content)
    answer = server.event("check", [picture_of(path, orig_name="photo.png")])
    assert answer.status_code == 200
    assert 'role=\\"alert\\"' in answer.text
    assert str(server.folder) not in answer.json()["data"][1]


def gone(server: Server) -> None:
    """An upload is kept while its page is open, and deleted afterwards."""
    with server.client.stream("GET", "/gradio_api/heartbeat/leaving") as page:
        lines = page.iter_lines()
        next(lines)
        path = Path(server.give(image(noise=99)))
        assert server.event("check", [picture_of(path)], session_hash="leaving").status_code == 200
        lost = Path(server.give(image(noise=98)))  # one that no page uses
        assert until(lambda: not lost.exists())
        assert path.exists()
    assert until(lambda: not path.exists())


def crowd(server: Server) -> None:
    """Pages beyond the limit are refused. A page that closes makes room."""
    with ExitStack() as pages:
        asked = [
            server.client.stream("GET", f"/gradio_api/heartbeat/crowd{n}")
            for n in range(LIMITS.sessions + 3)
        ]
        statuses = [pages.enter_context(page).status_code for page in asked]
        assert statuses.count(503) >= 3
    assert until(lambda: server.event("check", [None]).status_code == 200)


def slow(server: Server, beginning: str, connections: int) -> None:
    """Requests that never end are dropped, and others are answered meanwhile."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(server.connection()) for _ in range(connections)]
        for each in sockets:
            each.sendall(beginning.format(server.netloc).encode())
        assert server.client.get("/config").status_code == 200
        for each in sockets:
            with suppress(ConnectionResetError):
                while each.recv(65536):  # TimeoutError if the server keeps the connection
                    pass


def deaf(server: Server) -> None:
    """Clients that send many requests and never read are dropped."""
    asked = f"GET /config HTTP/1.1\r\nHost: {server.netloc}\r\n\r\n".encode() * 2000
    with ExitStack() as stack:
        for each in [stack.enter_context(server.connection()) for _ in range(10)]:
            assert until(lambda each=each: dropped(each, asked))  # type: ignore[misc]


def dropped(connection: socket.socket, request: bytes) -> bool:
    with suppress(BlockingIOError):
        try:
            connection.send(request, socket.MSG_DONTWAIT)
        except ConnectionError:
            return True
    return False


def long_request(server: Server, request: str) -> None:
    with suppress(ConnectionError):
        assert server.raw(request).split(b" ")[1] == b"400"
    assert server.client.get("/config").status_code == 200


def questions(server: Server) -> None:
    """Thirty questions at once: each is answered, or told to wait."""
    path = server.give(image(200))
    with concurrent.futures.ThreadPoolExecutor(30) as pool:
        answers = list(
            pool.map(lambda n: server.mark(picture_of(path), session=f"asker{n}"), range(30))
        )
    assert all('"success":true' in answer or "error" in answer for answer in answers)
    assert sum('"success":true' in answer for answer in answers) >= 10


HALF_HEADER = "POST /gradio_api/upload HTTP/1.1\r\nHost: {0}\r\n"
HALF_BODY = f"{HALF_HEADER}Origin: http://{{0}}\r\n{FORM}\r\nContent-Length: 1000\r\n\r\n-"
BOTH = "Content-Length: 10\r\nTransfer-Encoding: chunked"  # HTTP gives precedence to the second
CLAIMED = {
    "a body of 100 MB": partial(claimed, header="Content-Length: 100000000", status=b"413"),
    "a body of unknown length": partial(
        claimed, header="Transfer-Encoding: chunked", status=b"411"
    ),
    **{
        f"a chunked body with a length, {to}": partial(claimed, header=BOTH, status=b"411", to=to)
        for to in ("upload", "run/predict", "queue/join")
    },
}
ODD_NAMES = (
    "../../outside/evil.png", "/etc/evil", "..", ".", "a" * 3000, "evil\0.png", "%2e%2e%2fevil",
    "..\\evil",
)  # fmt: skip
SCRIPTS = ("a.svg", "a.html", "a.png", "a.xhtml")
PICTURES = {
    "50,000 x 50,000": png(50_000, 50_000),
    "6,000 x 6,000": png(6_000, 6_000),
    "text": b"text",
    "nothing": b"",
    "SVG": b"<svg/>",
    "PostScript": b"%!PS-Adobe-3.0 EPSF-3.0\nshowpage\n",
}
ENDLESS = {
    "50 uploads of one byte": partial(slow, beginning=HALF_BODY, connections=50),
    "50 half headers": partial(slow, beginning=HALF_HEADER, connections=50),
    "50 silent connections": partial(slow, beginning="", connections=50),
    "clients that do not read": deaf,
}
HUGE_HEADER = f"GET / HTTP/1.1\r\nX: {'x' * 20_000_000}"
ATTACKS = [
    Attack("uploads", "1,500 files at once", many_files),
    Attack("uploads", "90 MB", quota),
    Attack("uploads", "more files than fit", many_small),
    *(Attack("uploads", what, run) for what, run in CLAIMED.items()),
    *(Attack("uploads", f"name {name[:40]!r}", partial(odd_name, name=name)) for name in ODD_NAMES),
    *(Attack("uploads", f"a script in {name}", partial(script, name=name)) for name in SCRIPTS),
    Attack("uploads", "kept after the page was closed", gone),
    *(
        Attack("pictures", what, partial(bad_picture, content=content))
        for what, content in PICTURES.items()
    ),
    *(Attack("slow and large requests", what, run) for what, run in ENDLESS.items()),
    Attack(
        "slow and large requests",
        "a header of 20 MB",
        partial(long_request, request=HUGE_HEADER),
    ),
    Attack(
        "slow and large requests",
        "an address of 1 MB",
        partial(long_request, request="GET /" + "x" * 1_000_000),
    ),
    Attack("crowds", "more pages than fit", crowd),
    Attack("crowds", "30 questions at once", questions),
]
