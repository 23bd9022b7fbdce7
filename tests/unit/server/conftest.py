from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="the extra server is not installed")

from starlette.testclient import TestClient

from lfm2_retrieval import Encoder, Retriever
from lfm2_retrieval.server import KeyFile, ServerOptions, create_app

ROWS = [
    {"id": "rain", "text": "rain falls on quiet hills", "lang": "en", "year": 1999},
    {"id": "fox", "text": "the quick brown fox", "lang": "en", "year": 2005},
    {"id": "brot/käse#1", "text": "Brot, Käse und Wein", "lang": "de", "year": 2005},
    {"id": "emoji", "text": "🦊🍞 half of 🦊 is a surrogate", "lang": "en"},
    {"id": "script", "text": "<script>alert(1)</script>", "title": "<b>x</b>", "lang": "xx"},
]


@pytest.fixture(scope="session")
def server_model(checkpoint: Callable[..., Path]) -> Encoder:
    return Encoder.load(checkpoint())


@pytest.fixture
def retriever(server_model: Encoder, tmp_path: Path) -> Iterator[Retriever]:
    with Retriever.index(ROWS, tmp_path / "index", model=server_model, fields=["lang"]) as made:
        yield made


@pytest.fixture
def keys(tmp_path: Path) -> KeyFile:
    return KeyFile(tmp_path / "keys.json")


@pytest.fixture
def serve(retriever: Retriever, keys: KeyFile) -> Iterator[Callable[..., TestClient]]:
    """Begins a client of a server with some options; a key in ``client.headers`` if it asks for one."""
    running: list[TestClient] = []

    def begin(*, key: str | None = None, **options: Any) -> TestClient:
        headers = {}
        if key is not None:
            secret, _ = keys.add("test", write=key == "write")
            headers["Authorization"] = f"Bearer {secret}"
        app = create_app(retriever, ServerOptions(keys=str(keys.path), **options))
        client = TestClient(
            app, base_url="http://localhost:8000", headers=headers, raise_server_exceptions=False
        )
        client.__enter__()
        running.append(client)
        return client

    yield begin
    for client in running:
        client.__exit__(None, None, None)
