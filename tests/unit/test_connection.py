"""A client's connection: wrong servers, wrong values, forks and proxies."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from datetime import date
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

import numpy as np
import pytest

pytest.importorskip("httpx", reason="the extra client is not installed")

from lfm2_retrieval import Client
from lfm2_retrieval.connection import encoded
from lfm2_retrieval.errors import InvalidInputError, RetrievalError, ServerError


class _Other(BaseHTTPRequestHandler):
    """Answers whatever it is told to."""

    protocol_version = "HTTP/1.1"
    status: ClassVar[int] = 200
    content: ClassVar[bytes] = b""
    bodies: ClassVar[list[bytes]] = []
    ports: ClassVar[list[int]] = []

    def do_POST(self) -> None:
        self.bodies.append(self.rfile.read(int(self.headers.get("Content-Length") or 0)))
        self.ports.append(self.client_address[1])
        self.send_response(self.status)
        self.send_header("Content-Length", str(len(self.content)))
        self.end_headers()
        self.wfile.write(self.content)

    do_GET = do_PATCH = do_POST  # noqa: N815

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def other() -> Iterator[str]:
    """The address of a server that is none of this library."""
    _Other.status, _Other.content = 200, b""
    _Other.bodies.clear()
    _Other.ports.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), _Other) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize(
    ("status", "content"),
    [
        (200, b"<html>"),
        (200, b""),
        (200, b"[]"),
        (200, b"null"),
        (200, b"{}"),
        (200, b"\xff\xfe\xff"),
        (200, b"[" * 100_000),
        (200, b'{"hits": [{"id": 1}], "documents": [5], "results": [{"index": 7}], "count": null}'),
        (302, b""),
        (404, b'{"detail": "Not Found"}'),
        (422, b'{"detail": [{"msg": "wrong"}]}'),
        (500, b"oops"),
    ],
)
def test_another_server_is_taken_for_none(other: str, status: int, content: bytes) -> None:
    _Other.status, _Other.content = status, content
    with Client(other, retries=0) as client:
        for call in (
            lambda: client.search("a"),
            lambda: client.search(["a"]),
            lambda: client.rerank("a", ["b"]),
            lambda: client.get("a"),
            client.count,
            lambda: next(client.documents()),
            lambda: client.add(["a"]),
            lambda: client.update([{"id": "a"}]),
            lambda: client.delete("a"),
        ):
            with pytest.raises(ServerError, match="is it one"):
                call()


def test_what_has_no_json_is_not_sent(other: str) -> None:
    with Client(other) as client:
        for call in (
            lambda: client.search("a", min_score=float("nan")),
            lambda: client.count({"n": float("nan")}),
            lambda: client.count({"n": np.float32("nan")}),
            lambda: client.count({"n": object()}),
            lambda: client.search(5),  # type: ignore[call-overload]
            lambda: client.search(b"a"),  # type: ignore[call-overload]
            lambda: client.rerank(None, ["a"]),  # type: ignore[arg-type]
            lambda: client.update([5]),  # type: ignore[list-item]
            lambda: client.delete(5),  # type: ignore[arg-type]
        ):
            with pytest.raises(InvalidInputError):
                call()
    assert _Other.bodies == []
    with pytest.raises(InvalidInputError, match="closed"):
        client.count()


def test_values_of_others_are_sent_as_documents_have_them() -> None:
    values = {"k": np.int64(3), "where": {"day": date(2020, 1, 2), "n": {"$in": {2, 1}}}, "half": "\ud800"}
    assert encoded(values) == (b'{"k":3,"where":{"day":"2020-01-02","n":{"$in":[1,2]}},"half":"\\ud800"}')


def test_requests_are_of_a_bounded_size(other: str) -> None:
    _Other.content = b'{"added": 1, "changed": 0, "unchanged": 0, "results": []}'
    with Client(other) as client:
        client.add({"id": f"d{n}", "text": "x", "note": "y" * 100_000} for n in range(100))
        client.update({"id": f"d{n}", "metadata": {"note": "y" * 100_000}} for n in range(100))
        assert max(map(len, _Other.bodies)) < 5 << 20
        _Other.bodies.clear()
        client.search(["a"] * 100)
        assert len(_Other.bodies) == 4


def test_a_forked_process_has_connections_of_its_own(other: str) -> None:
    _Other.content = b'{"count": 1}'
    with Client(other) as client:
        client.count()
        child = os.fork()
        if not child:
            try:
                client.count()
                client.close()
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        client.count()
    first, of_child, last = _Other.ports
    assert first == last != of_child


def test_proxies_are_for_other_machines(other: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "socks5://127.0.0.1:9")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    _Other.content = b'{"count": 1}'
    with Client(other) as client:
        assert client.count() == 1


@pytest.mark.parametrize(
    "url",
    [
        "localhost:8000",
        "http://",
        "http://:8000",
        "http://[::1",
        "http://a b",
        "http://localhost:99999",
        "http://localhost:8000?x=1",
        "http://\ud800",
        "http://xn--:8000",
        "ftp://localhost",
        None,
    ],
)
def test_what_is_no_address_is_refused(url: Any) -> None:
    with pytest.raises(InvalidInputError):
        Client(url)


@pytest.mark.parametrize(
    "wrong", [{"timeout": -1}, {"timeout": "x"}, {"retries": -1}, {"key": "ü"}, {"key": "a\nb"}]
)
def test_options_are_checked_before_anything_is_sent(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError):
        Client("http://localhost:8000", **wrong)


def test_a_key_may_come_from_a_file_with_an_end_of_line() -> None:
    with Client("HTTP://localhost:8000/", key="lfm2_abc\n") as client:
        assert client._server._headers["Authorization"] == "Bearer lfm2_abc"
        assert client.url == "http://localhost:8000"
    assert issubclass(ServerError, RetrievalError)
