"""The open pages, each a Gradio session, and the uploads that each uses."""

import time
from collections import Counter, defaultdict, deque
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

from tris_core.demo.limits import Limits
from tris_core.demo.uploads import Uploads

CROWDED = "Too many pages are open. Try again in a few minutes."


class Crowded(Exception):
    """No further session fits. The text appears on the page."""


class Visitors:
    """Sessions in the order of their last sign of life.

    `forget` frees what Gradio stores for a session.
    """

    def __init__(
        self, uploads: Uploads, forget: Callable[[str], Awaitable[None]], limits: Limits
    ) -> None:
        self._uploads = uploads
        self._forget = forget
        self._limits = limits
        self._seen: dict[str, float] = {}
        # Open connections. A heartbeat lasts as long as its page, others as long as a question.
        self._open: Counter[str] = Counter()
        self._pictures: dict[str, deque[str]] = defaultdict(lambda: deque(maxlen=limits.pictures))

    def __contains__(self, session: str) -> bool:
        return session in self._seen

    async def greet(self, session: str) -> None:
        """Note a sign of life. A new session may replace one with a closed page.

        Raises `Crowded` if all pages are open.
        """
        if session not in self._seen and len(self._seen) >= self._limits.sessions:
            closed = next((known for known in self._seen if not self._open[known]), None)
            if closed is None:
                raise Crowded(CROWDED)
            await self._drop(closed)
        self._seen.pop(session, None)
        self._seen[session] = time.time()

    @contextmanager
    def present(self, session: str) -> Iterator[None]:
        """Keep a greeted session while it waits for something."""
        self._open[session] += 1
        try:
            yield
        finally:
            self._open[session] -= 1
            self._seen[session] = time.time()

    def uses(self, session: str, upload: str) -> None:
        """Note that a session uses an upload. Only its latest few uploads are kept."""
        pictures = self._pictures[session]
        if upload in pictures:
            pictures.remove(upload)
        pictures.append(upload)

    async def sweep(self) -> None:
        """Drop sessions with a page closed some time ago, then uploads that no session uses."""
        now = time.time()
        for session, seen in list(self._seen.items()):
            if not self._open[session] and now - seen > self._limits.grace_s:
                await self._drop(session)
        used = {upload for pictures in self._pictures.values() for upload in pictures}
        self._uploads.sweep(used, now)

    async def _drop(self, session: str) -> None:
        for kept in (self._seen, self._open, self._pictures):
            kept.pop(session, None)
        await self._forget(session)
