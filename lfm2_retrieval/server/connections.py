"""What a connection may send beside bodies, and how long it may take: bounded, and told in problems."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

from uvicorn.protocols.http import httptools_impl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from .answers import Json
from .problems import problem

__all__ = ["Protocol"]

_MOST = 64 << 10
"""Bytes of a request's first line and headers, and of whatever else isn't its body."""
_TOO_LARGE = f"a request's address and headers have {_MOST:,} bytes at most"


class Protocol(HttpToolsProtocol):
    """HTTP on a connection that costs a bounded room and time, whatever comes by it, and however slowly.

    The end of an answer is sent at once. Else it waits for the client's word that the beginning came, which
    systems hold back for 40 ms: asyncio sees to that only for sockets that name their protocol, and those of
    uvicorn don't.

    Parameters
    ----------
    timeout
        Seconds that a request's headers may take to arrive, and an answer to be read.
    """

    def __init__(self, *args: Any, timeout: float = 60.0, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._most, self.limit_concurrency = self.limit_concurrency, None  # uvicorn's refusal is no problem
        self._timeout = timeout
        self._loose = 0  # bytes since the last headers or piece of a body
        self._heading = False  # within a first line or headers
        self._slow: asyncio.TimerHandle | None = None
        self._unread: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """As of any protocol."""
        connection = transport.get_extra_info("socket")
        if connection is not None:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        super().connection_made(transport)
        self._slow = self.loop.call_later(self._timeout, self._give_up)

    def connection_lost(self, exc: Exception | None) -> None:
        """As of any protocol."""
        self._stop("_slow")
        self._stop("_unread")
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """As of any protocol."""
        self._loose += len(data)
        super().data_received(data)
        if self._loose > _MOST and not self.transport.is_closing():
            self._refuse(431, _TOO_LARGE)
        if self._heading and self._slow is None:
            self._slow = self.loop.call_later(self._timeout, self._give_up)

    def on_message_begin(self) -> None:
        """A request begins."""
        self._heading = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """The headers of a request are there."""
        self._loose, self._heading = 0, False
        self._stop("_slow")
        if len(self.url) + sum(len(name) + len(value) for name, value in self.headers) > _MOST:
            self._refuse(431, _TOO_LARGE)
            return
        busy = self._most is not None and max(len(self.connections), len(self.tasks)) >= self._most
        self.app = _busy() if busy else self.config.loaded_app
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A piece of the body of a request is there."""
        self._loose = 0
        super().on_body(body)

    def send_400_response(self, msg: str) -> None:
        """Refuse what isn't HTTP."""
        self._refuse(400, "this isn't a request of HTTP/1.1")

    def pause_writing(self) -> None:
        """The client doesn't read as fast as it is answered."""
        if self._unread is None:
            self._unread = self.loop.call_later(self._timeout, self.transport.abort)
        super().pause_writing()

    def resume_writing(self) -> None:
        """The client has read most of it."""
        self._stop("_unread")
        super().resume_writing()

    def _give_up(self) -> None:
        self._slow = None
        if self._heading:
            self._refuse(408, f"the headers took more than {self._timeout:g} s")
        else:
            self.transport.close()

    def _refuse(self, status: int, detail: str) -> None:
        """Answer and close; only close where a request waits for an answer, for which this would be taken."""
        if self.transport.is_closing():
            return
        cycle = self.cycle
        unasked = cycle is None or cycle.response_complete
        if unasked or (cycle.more_body and not cycle.response_started):
            answer = problem(status, detail, {"Connection": "close"})
            head = b"".join(b"%b: %b\r\n" % header for header in answer.raw_headers)
            self.transport.write(httptools_impl.STATUS_LINE[status] + head + b"\r\n" + bytes(answer.body))
        self.transport.close()

    def _stop(self, name: str) -> None:
        timer = getattr(self, name)
        if timer is not None:
            timer.cancel()
            setattr(self, name, None)


def _busy() -> Json:
    headers = {"Connection": "close", "Retry-After": "1"}
    return problem(503, "too many connections are open; try again", headers)
