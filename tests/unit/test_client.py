"""The client: what a retriever does, over HTTP."""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="the extra server is not installed")

import httpx
from starlette.testclient import TestClient

from lfm2_retrieval import Client, Document, Encoder, Retriever
from lfm2_retrieval.errors import (
    DuplicateIdError,
    InvalidInputError,
    ServerError,
    UnknownIdError,
)
from lfm2_retrieval.searchable import Searchable, Writable
from lfm2_retrieval.server import KeyFile, ServerOptions, create_app

ROWS = [{"id": f"d{n}", "text": f"text of number {n}", "n": n} for n in range(450)]


class _Through(httpx.BaseTransport):
    """Has a server in this process answer."""

    def __init__(self, server: TestClient) -> None:
        self.server = server
        self.fail = 0
        self.error: httpx.TransportError = httpx.ConnectError("refused")

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if self.fail:
            self.fail -= 1
            raise self.error
        headers = [(name, value) for name, value in request.headers.items() if name != "host"]
        answer = self.server.request(
            request.method, request.url.raw_path.decode(), content=request.read(), headers=headers
        )
        kept = {name: value for name, value in answer.headers.items() if name != "content-encoding"}
        return httpx.Response(answer.status_code, content=answer.content, headers=kept)


@pytest.fixture(scope="module")
def retriever(
    checkpoint: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Retriever]:
    path = tmp_path_factory.mktemp("client") / "index"
    with Retriever.index(ROWS, path, model=Encoder.load(checkpoint())) as made:
        yield made


@pytest.fixture
def client(retriever: Retriever, tmp_path: Path) -> Iterator[Client]:
    keys = KeyFile(tmp_path / "keys.json")
    secret, _ = keys.add("test", write=True)
    options = ServerOptions(writable=True, keys=str(keys.path), max_documents=200)
    with (
        TestClient(create_app(retriever, options), base_url="http://localhost") as server,
        Client("http://localhost", key=secret) as made,
    ):
        http = httpx.Client(base_url=made.url, headers=made._server._headers, transport=_Through(server))
        made._server._http = http
        yield made


def test_it_stands_in_for_a_retriever(client: Client) -> None:
    assert isinstance(client, Searchable)
    assert isinstance(client, Writable)


def test_it_finds_what_the_retriever_finds(client: Client, retriever: Retriever) -> None:
    for options in ({}, {"explain": True}, {"mode": "hybrid"}, {"where": {"n": {"$lt": 5}}}, {"exact": True}):
        assert client.search("number 7", 3, **options) == retriever.search("number 7", 3, **options)  # type: ignore[arg-type]
    assert client.search(["a", "b"], 2) == retriever.search(["a", "b"], 2)
    assert asyncio.run(client.asearch("number 7", 3)) == retriever.search("number 7", 3)


def test_it_reads_documents_by_the_page(client: Client, retriever: Retriever) -> None:
    assert [one.id for one in client.documents()] == retriever.ids()
    assert client.ids("n < 250 AND n > 20") == retriever.ids("n < 250 AND n > 20")
    assert (len(client), client.count({"n": 3})) == (len(retriever), 1)
    assert client.get("d3") == retriever.get("d3")
    assert client.get_many([*retriever.ids(), "none"]) == [*map(retriever.get, retriever.ids()), None]
    assert "d3" in client
    assert "none" not in client


def test_it_reranks_in_the_same_order(client: Client, retriever: Retriever) -> None:
    texts = ["one", " ", Document("x", "number 7"), {"id": "y", "text": "two"}]
    found, wanted = client.rerank("number 7", texts), retriever.rerank("number 7", texts)
    assert [hit.id for hit in found] == [hit.id for hit in wanted]
    assert [hit.id for hit in client.rerank("number 7", ids=["d1", "d7"], k=1)] == ["d7"]
    with pytest.raises(UnknownIdError):
        client.rerank("a", ids=["none"])


def test_it_changes_documents(client: Client, retriever: Retriever) -> None:
    rows = [{"id": f"new{n}", "text": f"new {n}"} for n in range(450)]
    assert client.add(rows) == 450
    with pytest.raises(DuplicateIdError):
        client.add(rows[:1])
    assert client.add(rows[:3], on_conflict="replace") == 3
    assert client.update([{"id": "new1", "metadata": {"x": 1}}]) == 1
    assert retriever.get("new1") == Document("new1", "new 1", {"x": 1})
    with pytest.raises(UnknownIdError):
        client.update([{"id": "none", "text": "x"}])
    with pytest.raises(UnknownIdError):
        client.delete("none")
    assert client.delete(["new1", "none"], missing_ok=True) == 1
    assert client.delete([f"new{n}" for n in range(450) if n != 1]) == 449


def test_errors_are_the_librarys_own(client: Client) -> None:
    for call in (
        lambda: client.search("a", 0),
        lambda: client.search("a", where="n = "),
        lambda: client.search("a", mode="magic"),  # type: ignore[arg-type]
        lambda: client.search("a", threads=2),
        lambda: client.rerank("a"),
        lambda: client.get_many("abc"),
        client.delete,
    ):
        with pytest.raises(InvalidInputError):
            call()
    with pytest.raises(InvalidInputError, match="http"):
        Client("localhost:8000")


def test_what_changes_nothing_is_asked_again(client: Client) -> None:
    transport = client._server._http._transport
    assert isinstance(transport, _Through)
    transport.fail = 2
    assert client.count() == len(ROWS)
    transport.fail, transport.error = 1, httpx.ReadError("cut off")
    with pytest.raises(ServerError, match="running"):
        client.add([{"id": "z", "text": "z"}])
    assert "z" not in client


def test_another_key_is_refused(client: Client) -> None:
    client._server._http.headers["Authorization"] = "Bearer other"
    with pytest.raises(ServerError, match="unknown") as caught:
        client.count()
    assert caught.value.status == 401


def test_a_copy_in_another_process_asks_the_same_server(client: Client) -> None:
    copied = pickle.loads(pickle.dumps(client))
    assert copied.url == client.url
    copied.close()
