"""Lets only those requests reach Gradio that the page itself makes."""

import asyncio
import re
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import nullcontext, suppress
from typing import Any
from urllib.parse import parse_qsl

from python_multipart.multipart import parse_options_header
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse

from tris_core.demo.events import SESSION, read_event
from tris_core.demo.inputs import MAX_FILE_MB
from tris_core.demo.limits import EVENT_BYTES, REQUEST_BYTES, Limits
from tris_core.demo.uploads import Full, Uploads
from tris_core.demo.visitors import Crowded, Visitors
from tris_core.runtime.errors import InputError

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

API = "/gradio_api"
HEARTBEAT, FILE = f"{API}/heartbeat/", f"{API}/file="
RUN, JOIN, UPLOAD, ANSWERS = (
    f"{API}/{name}" for name in ("run/predict", "queue/join", "upload", "queue/data")
)
SANDBOX = "default-src 'none'; sandbox"  # an uploaded SVG, opened on its own, runs no script

# Paths, with the parameters that each accepts. Everything else that Gradio serves is closed.
GET: dict[str, set[str]] = {
    "/": {"__theme"},
    "/config": set(),
    "/theme.css": {"v"},
    "/favicon.ico": set(),
    "/manifest.json": set(),
    r"/(assets|static)(/[\w@+-][\w.@+-]*)+": set(),
    f"{API}/app_id": set(),
    f"{API}/upload_progress": {"upload_id"},
    ANSWERS: {"session_hash"},
    HEARTBEAT + SESSION: set(),
    f"{FILE}.+": set(),
}
POST: dict[str, set[str]] = {RUN: set(), JOIN: set(), UPLOAD: {"upload_id"}}
# a name or IPv4 address, or an IPv6 address in brackets, with or without a port
HOST = re.compile(r"([^\[\]:@]+|\[[^\[\]@]+\])(?::\d+)?")
ROUTES = {"GET": GET, "HEAD": {"/": GET["/"]}, "POST": POST}


class Guard:
    """ASGI middleware around Gradio.

    Args:
        names: the host names that the server answers to; None for any.
        direct: the functions of the page that bypass Gradio's queue, by number.
        queued: the functions that use it.
    """

    def __init__(
        self,
        app: App,
        uploads: Uploads,
        visitors: Visitors,
        limits: Limits,
        names: set[str] | None,
        direct: dict[int, str],
        queued: dict[int, str],
    ) -> None:
        self._app = app
        self._uploads = uploads
        self._visitors = visitors
        self._limits = limits
        self._names = names
        self._functions = {RUN: direct, JOIN: queued}

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return
        body = TimedBody(receive, self._limits.body_s)
        try:
            check_host(Headers(scope=scope), self._names)
            check_origin(scope["method"], Headers(scope=scope))
            check_route(scope["method"], scope["path"], scope["query_string"])
            await self._answer(scope, body, send)
        except InputError as error:
            await _refuse(scope, body, send, 400, str(error))
        except Full as error:
            await _refuse(scope, body, send, 507, str(error))
        except Crowded as error:
            await _refuse(scope, body, send, 503, str(error))
        except HTTPException as error:
            await _refuse(scope, body, send, error.status_code, error.detail)
        except ClientDisconnect:
            pass

    async def _answer(self, scope: Message, receive: Receive, send: Send) -> None:
        path = scope["path"]
        if path in self._functions:
            body = await self._event(Request(scope, receive), self._functions[path])
            await self._app(_resized(scope, len(body)), _whole(body, receive), send)
        elif path == UPLOAD:
            length = content_length(
                Headers(scope=scope), REQUEST_BYTES, f"Pictures may have up to {MAX_FILE_MB} MB."
            )
            await self._visitors.sweep()
            with self._uploads.room(length):
                await self._app(scope, one_part(Headers(scope=scope), receive), send)
        elif path.startswith(HEARTBEAT):
            session = path.removeprefix(HEARTBEAT)
            await self._visitors.greet(session)
            with self._visitors.present(session):
                await self._app(scope, receive, send)
        elif path == ANSWERS:
            session = Request(scope).query_params.get("session_hash", "")
            if session not in self._visitors:
                raise HTTPException(404, "There is no such session.")
            with self._visitors.present(session):
                await self._app(scope, receive, send)
        elif path.startswith(FILE):
            if self._uploads.find(path.removeprefix(FILE)) is None:
                raise HTTPException(404, "This picture is no longer kept.")
            await self._app(scope, receive, _sandboxed(send))
        else:
            await self._app(scope, receive, send)

    async def _event(self, request: Request, functions: dict[int, str]) -> bytes:
        content_length(request.headers, EVENT_BYTES, "The sentences are too long.")
        session, upload, body = read_event(await request.body(), functions, self._uploads)
        await self._visitors.greet(session)
        if upload is not None:
            self._visitors.uses(session, upload)
        return body


class TimedBody:
    """The `receive` of a request; its body has to arrive within `seconds`."""

    def __init__(self, receive: Receive, seconds: float) -> None:
        self._receive = receive
        self._deadline = asyncio.get_running_loop().time() + seconds
        self._arrived = False

    async def __call__(self) -> Message:
        try:
            async with nullcontext() if self._arrived else asyncio.timeout_at(self._deadline):
                message = await self._receive()
        except TimeoutError as error:
            raise HTTPException(
                408, "The request took too long.", headers={"Connection": "close"}
            ) from error
        self._arrived = not message.get("more_body")
        return message

    async def discard(self) -> None:
        """Read the rest of the body: a client cut off while sending would not see the answer."""
        with suppress(HTTPException):
            while not self._arrived:
                await self()


def check_host(headers: Headers, names: set[str] | None) -> None:
    """Check the host name, so that no other site can reach this server under its own name.

    Raises `HTTPException`.
    """
    match = HOST.fullmatch(headers.get("host", ""))
    if names is not None and (match is None or match[1].strip("[]").lower() not in names):
        raise HTTPException(400, "This server is not known by that name.")


def check_origin(method: str, headers: Headers) -> None:
    """Allow only the page itself to post, by what browsers say about the origin of a request.

    Raises `HTTPException`.
    """
    origin, site = headers.get("origin"), headers.get("sec-fetch-site")
    foreign = origin is not None and origin not in [
        f"{scheme}://{headers.get('host')}" for scheme in ("http", "https")
    ]
    if method == "POST":
        foreign = foreign or site not in (None, "same-origin") or (origin is None and site is None)
    if foreign:
        raise HTTPException(403, "Only the page itself may ask for this.")


def check_route(method: str, path: str, query: bytes) -> None:
    """Raise `HTTPException` unless the page makes such requests."""
    for pattern, parameters in ROUTES.get(method, {}).items():
        if re.fullmatch(pattern, path):
            given = parse_qsl(query.decode("latin-1"), keep_blank_values=True)
            if all(
                key in parameters and re.fullmatch(r"[\w.-]{0,64}", value) for key, value in given
            ):
                return
    raise HTTPException(404, "There is no such page.")


def content_length(headers: Headers, most: int, words: str) -> int:
    """Length of a request's body in bytes, which the server enforces.

    Raises `HTTPException` with `words` if it exceeds `most`.
    """
    length = _length(headers)
    if length is None:
        raise HTTPException(411, "The request does not say how long it is.")
    if length > most:
        raise HTTPException(413, words)
    return length


def _length(headers: Headers) -> int | None:
    """Content-Length, or None for a chunked body, which has no known length."""
    length = headers.get("content-length", "")
    return int(length) if length.isdecimal() and "transfer-encoding" not in headers else None


def one_part(headers: Headers, receive: Receive) -> Receive:
    """Count the parts of a multipart body while it arrives. The page sends one picture at a time.

    Raises `HTTPException`.
    """
    kind, options = parse_options_header(headers.get("content-type", ""))
    if kind != b"multipart/form-data" or not options.get(b"boundary"):
        raise HTTPException(400, "This is not an upload.")
    mark, tail, found = b"--" + options[b"boundary"], b"", 0

    async def counted() -> Message:
        nonlocal tail, found
        message = await receive()
        window = tail + message.get("body", b"")
        found += window.count(mark)
        tail = window[-(len(mark) - 1) :]
        if found > 2:  # the start and the end of the one part
            while message.get("more_body"):
                message = await receive()
            raise HTTPException(
                413, "Upload one picture at a time.", headers={"Connection": "close"}
            )
        return message

    return counted


def _resized(scope: Message, length: int) -> Message:
    headers = MutableHeaders(raw=[*scope["headers"]])
    headers["content-length"] = str(length)
    return {**scope, "headers": headers.raw}


def _whole(body: bytes, receive: Receive) -> Receive:
    sent = False

    async def whole() -> Message:
        nonlocal sent
        if sent:
            return await receive()
        sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    return whole


def _sandboxed(send: Send) -> Send:
    async def sandboxed(message: Message) -> None:
        if message["type"] == "http.response.start":
            MutableHeaders(scope=message).append("Content-Security-Policy", SANDBOX)
        await send(message)

    return sandboxed


async def _refuse(scope: Message, body: TimedBody, send: Send, status: int, words: str) -> None:
    length = _length(Headers(scope=scope))
    if length is not None and length <= REQUEST_BYTES:
        await body.discard()
    content = {"error": words, "detail": words}  # Gradio's client looks for either
    await JSONResponse(content, status, headers={"Connection": "close"})(scope, body, send)
