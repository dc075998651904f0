"""uvicorn's HTTP protocol, for clients that may never finish what they started."""

import asyncio

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol


class ImpatientProtocol(H11Protocol):
    """Drops a connection after `timeout_keep_alive` seconds without progress.

    That is, if a request's header is incomplete or the client reads nothing for so long.
    """

    _header: asyncio.TimerHandle | None = None
    _reader: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._await_header()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._await_header()

    def connection_lost(self, exc: Exception | None) -> None:
        for timer in (self._header, self._reader):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._reader = self._drop_later()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._reader is not None:
            self._reader.cancel()

    def _await_header(self) -> None:
        if self.conn.their_state is not h11.IDLE:
            if self._header is not None:
                self._header.cancel()
            self._header = None
        elif self._header is None:
            self._header = self._drop_later()

    def _drop_later(self) -> asyncio.TimerHandle:
        return self.loop.call_later(self.timeout_keep_alive, self.transport.abort)
