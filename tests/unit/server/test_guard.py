"""What requests pass before a route."""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import Callable
from typing import Any

import pytest
from starlette.testclient import TestClient

from lfm2_retrieval import Retriever
from lfm2_retrieval.errors import InvalidInputError, InvalidTypeError, UnknownFieldWarning
from lfm2_retrieval.server import KeyFile, ServerOptions, create_app
from lfm2_retrieval.server.guard import BodyLimit
from lfm2_retrieval.server.options import is_loopback
from lfm2_retrieval.server.running import worker_app

Serve = Callable[..., TestClient]


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.9.9.9", "[::1]", "LOCALHOST"])
def test_this_machine_is_known(serve: Serve, host: str) -> None:
    assert serve().get("/v1/index", headers={"Host": f"{host}:8000"}).status_code == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "", "10.0.0.1"]
)
def test_another_name_is_refused(serve: Serve, host: str) -> None:
    assert serve().get("/v1/index", headers={"Host": host}).status_code == 421
    assert serve().get("/", headers={"Host": host}).status_code == 421


def test_a_name_can_be_allowed(serve: Serve) -> None:
    client = serve(allowed_hosts=("search.example",))
    assert client.get("/v1/index", headers={"Host": "search.example"}).status_code == 200


def test_other_machines_need_a_key(serve: Serve, keys: KeyFile) -> None:
    client = serve(key="read", host="0.0.0.0")
    assert client.get("/v1/index").status_code == 200
    client.headers.pop("Authorization")
    assert client.get("/v1/index").status_code == 401
    assert client.get("/v1/metrics").status_code == 401
    for path in ("/", "/static/page.js", "/v1/health", "/v1/ready"):
        assert client.get(path).status_code == 200
    for headers in (
        {"Authorization": "Bearer x"},
        {"X-API-Key": b"\xff\xfe"},
        {"X-API-Key": ""},
    ):
        assert client.get("/v1/index", headers=headers).status_code == 401


def test_a_revoked_key_is_refused(serve: Serve, keys: KeyFile, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lfm2_retrieval.server.keys._LOOKED_AT", 0.0)
    client = serve(key="read")
    assert client.get("/v1/index").status_code == 200
    KeyFile(keys.path).revoke(keys.known()[0].id)
    assert client.get("/v1/index").status_code == 401


def test_keys_that_cannot_be_read_let_nobody_in(
    serve: Serve, keys: KeyFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lfm2_retrieval.server.keys._LOOKED_AT", 0)
    client = serve(key="read")
    good = keys.path.read_bytes()
    for damage in (lambda: keys.path.write_bytes(b"{"), lambda: keys.path.chmod(0o666)):
        damage()
        answer = client.get("/v1/index")
        assert answer.status_code == 503
        assert answer.json()["type"] == "urn:lfm2-retrieval:unavailable"
        assert str(keys.path) not in answer.text
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
    keys.path.chmod(0o600)
    keys.path.write_bytes(good)
    assert client.get("/v1/index").status_code == 200


def test_nothing_starts_where_nobody_could_be_let_in(retriever: Retriever, keys: KeyFile) -> None:
    for options in ({"host": "0.0.0.0"}, {"writable": True}):
        with pytest.raises(InvalidInputError, match="serve keys add"):
            create_app(retriever, ServerOptions(keys=str(keys.path), **options))  # type: ignore[arg-type]
    keys.add("reader")
    with pytest.raises(InvalidInputError, match="--write"):
        create_app(retriever, ServerOptions(keys=str(keys.path), writable=True))


def test_bodies_are_bounded(serve: Serve) -> None:
    client = serve(max_body=1000)
    json = {"content-type": "application/json"}
    assert client.post("/v1/search", content=b"x" * 1001, headers=json).status_code == 413
    chunks = (b"x" * 100 for _ in range(100))
    assert client.post("/v1/search", content=chunks, headers=json).status_code == 413
    assert client.post("/v1/search", json={"query": "a" * 100}).status_code == 200


def test_a_body_that_does_not_come_is_not_waited_for() -> None:
    sent: list[dict[str, Any]] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()

    async def never() -> Any:
        await asyncio.sleep(60)

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "path": "/v1/search", "method": "POST", "headers": []}
    asyncio.run(BodyLimit(app, ServerOptions(timeout=0.1))(scope, never, send))
    assert sent[0]["status"] == 408


def test_a_client_that_asks_too_often_waits(serve: Serve) -> None:
    client = serve(rate=0.05)
    answers = [client.get("/v1/index").status_code for _ in range(6)]
    assert answers[:3] == [200, 200, 200]
    assert answers[-1] == 429
    assert int(client.get("/v1/index").headers["retry-after"]) >= 1
    assert client.get("/v1/health").status_code == 200


def test_browsers_are_told_to_load_nothing_else(serve: Serve) -> None:
    for path in ("/", "/v1/index", "/nothing"):
        headers = serve().get(path).headers
        assert "default-src 'none'" in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"


def test_other_origins_read_nothing_unless_told(serve: Serve) -> None:
    origin = {"Origin": "https://example.org"}
    assert "access-control-allow-origin" not in serve().get("/v1/index", headers=origin).headers
    client = serve(cors=("https://example.org",))
    assert (
        client.get("/v1/index", headers=origin).headers["access-control-allow-origin"]
        == "https://example.org"
    )
    other = client.get("/v1/index", headers={"Origin": "https://evil.example"})
    assert "access-control-allow-origin" not in other.headers


def test_long_answers_are_packed(serve: Serve) -> None:
    body = {"query": "fox", "explain": True}
    assert (
        serve().post("/v1/search", json=body, headers={"Accept-Encoding": "gzip"}).headers["content-encoding"]
        == "gzip"
    )


@pytest.mark.parametrize(
    "wrong",
    [
        {"port": -1},
        {"port": 70_000},
        {"workers": 0},
        {"rate": 0},
        {"timeout": 0},
        {"cors": ("*",)},
        {"allowed_hosts": ("a b",)},
    ],
)
def test_options_are_checked(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError):
        ServerOptions(**wrong)
    with pytest.raises(InvalidTypeError):
        ServerOptions(port=True)


def test_options_pass_to_another_process() -> None:
    options = ServerOptions(port=1, cors=("https://a.example",), rate=2.5)
    assert ServerOptions.from_json(options.to_json()) == options


def test_what_is_loopback() -> None:
    assert all(map(is_loopback, ("127.0.0.1", "::1", "[::1]", "localhost")))
    assert not any(map(is_loopback, ("0.0.0.0", "::", "10.0.0.1", "example.org", "localhost.example.org")))


def test_names_of_fields_are_not_logged(monkeypatch: pytest.MonkeyPatch, keys: KeyFile) -> None:
    options = ServerOptions(keys=str(keys.path))
    monkeypatch.setenv("LFM2_RETRIEVAL_SERVE_PATH", "index")
    monkeypatch.setenv("LFM2_RETRIEVAL_SERVE_OPTIONS", options.to_json())
    with warnings.catch_warnings(record=True) as told:
        worker_app()
        warnings.warn("no document here has the field 'secret'", UnknownFieldWarning, stacklevel=1)
    assert told == []
