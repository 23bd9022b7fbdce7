"""Connections by real sockets: what is no request, or none that ends, costs little and is told."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="the extra server is not installed")

import uvicorn

from lfm2_retrieval.server.connections import Protocol

Begin = Callable[..., Callable[[], socket.socket]]
ASK = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
LARGE = 64 << 20


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Read the body and answer with its length, and as many bytes as the address asks for."""
    n, more = 0, True
    while more:
        message = await receive()
        if message["type"] != "http.request":
            return
        n, more = n + len(message["body"]), message["more_body"]
    body = str(n).encode() + b"." * int(scope["query_string"] or 0)
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


@pytest.fixture
def begin() -> Iterator[Begin]:
    """Begins a server, and gives what connects to it."""
    ended: list[Callable[[], None]] = []

    def begin(timeout: float = 60.0, **options: Any) -> Callable[[], socket.socket]:
        bound = socket.create_server(("127.0.0.1", 0))
        http: Any = partial(Protocol, timeout=timeout)
        server = uvicorn.Server(
            uvicorn.Config(app, http=http, ws="none", lifespan="off", log_level="critical", **options)
        )
        thread = threading.Thread(target=server.run, args=([bound],))
        thread.start()

        def end() -> None:
            server.should_exit = True
            thread.join()
            bound.close()

        ended.append(end)
        while not server.started:
            time.sleep(0.01)
        return lambda: socket.create_connection(bound.getsockname(), timeout=60)

    yield begin
    for end in ended:
        end()


def answer(connection: socket.socket, sent: bytes) -> bytes:
    """All that comes until the server closes."""
    with connection:
        for start in range(0, len(sent), 16_384):
            try:
                connection.sendall(sent[start : start + 16_384])
            except OSError:  # it has closed already, of which it told before
                break
        found = b""
        try:
            while piece := connection.recv(65_536):
                found += piece
        except ConnectionResetError:
            pass
        return found


def status(found: bytes) -> int:
    """Of a problem."""
    head, _, body = found.partition(b"\r\n\r\n")
    assert b"application/problem+json" in head
    values = json.loads(body)
    assert head.startswith(f"HTTP/1.1 {values['status']} ".encode())
    return int(values["status"])


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01",
        b"BREW / HTTP/1.1\r\n\r\n",
        b"GET /\xe9 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
)
def test_what_is_no_request_is_told_so(begin: Begin, sent: bytes) -> None:
    assert status(answer(begin()(), sent)) == 400


def test_no_answer_is_taken_for_that_of_the_request_before(begin: Begin) -> None:
    assert answer(begin()(), ASK + b"\x00\x00\x00\x00") == b""


@pytest.mark.parametrize(
    "sent",
    [
        b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nX: " + b"a" * 1_000_000,
        b"GET / HTTP/1.1\r\n" + b"X: a\r\n" * 100_000,
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n1;" + b"a" * 1_000_000,
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n" + b"X: a\r\n" * 100_000,
    ],
)
def test_headers_are_bounded(begin: Begin, sent: bytes) -> None:
    found = answer(begin()(), sent)
    if found:  # a reset of the connection can overtake it
        assert status(found) == 431


def test_many_small_pieces_of_a_body_are_not_headers(begin: Begin) -> None:
    body = b"1\r\na\r\n" * 50_000 + b"0\r\n\r\n"
    head = b"POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert answer(begin()(), head + body).endswith(b"\r\n\r\n50000")


def test_headers_that_do_not_come_are_not_waited_for(begin: Begin) -> None:
    connect = begin(timeout=0.1)
    assert answer(connect(), b"") == b""
    assert status(answer(connect(), b"GET / HTTP/1.1\r\nHost: x\r\n")) == 408


def test_a_client_that_does_not_read_is_left(begin: Begin, monkeypatch: pytest.MonkeyPatch) -> None:
    left = threading.Event()
    lost = Protocol.connection_lost

    def noting(self: Protocol, error: Exception | None) -> None:
        lost(self, error)
        left.set()

    monkeypatch.setattr(Protocol, "connection_lost", noting)
    with begin(timeout=0.1)() as connection:
        connection.sendall(b"GET /?%d HTTP/1.1\r\nHost: x\r\n\r\n" % LARGE)
        assert left.wait(60)


def test_too_many_connections_are_told_to_come_back(begin: Begin) -> None:
    connect = begin(limit_concurrency=3)
    idle = [connect() for _ in range(3)]
    found = answer(connect(), ASK)
    assert status(found) == 503
    assert b"retry-after: 1" in found
    for one in idle:
        one.close()


def test_answers_are_sent_without_waiting(begin: Begin, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    made = Protocol.connection_made

    def noting(self: Protocol, transport: Any) -> None:
        made(self, transport)
        connection = transport.get_extra_info("socket")
        seen.append(connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))

    monkeypatch.setattr(Protocol, "connection_made", noting)
    answer(begin(timeout=0.1)(), ASK)
    assert seen
    assert seen[0]
