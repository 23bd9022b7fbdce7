"""A server in trouble: a full disk, an index that is replaced or damaged, clients that are slow or leave."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="the extra server is not installed")

import httpx
import uvicorn

from lfm2_retrieval import Client, Encoder, Retriever
from lfm2_retrieval.errors import ServerError
from lfm2_retrieval.server import KeyFile, ServerOptions, create_app

ROWS = [{"id": f"d{n}", "text": f"text of number {n}"} for n in range(20)]


@pytest.fixture(scope="module")
def model(checkpoint: Callable[..., Path]) -> Encoder:
    return Encoder.load(checkpoint())


@pytest.fixture(scope="module")
def secret(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """A key that may write, and its file."""
    keys = KeyFile(tmp_path_factory.mktemp("keys") / "keys.json")
    return keys.add("test", write=True)[0], str(keys.path)


@contextmanager
def serving(
    path: Path, model: Encoder, secret: tuple[str, str], **options: Any
) -> Iterator[tuple[Client, int]]:
    """A server on an index's path, by a real socket, and a client of it."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        port = bound.getsockname()[1]
        given = ServerOptions(writable=True, keys=secret[1], model=str(model.folder), **options)
        server = uvicorn.Server(uvicorn.Config(create_app(path, given), log_level="critical"))
        thread = threading.Thread(target=server.run, args=([bound],))
        thread.start()
        try:
            while not server.started:
                time.sleep(0.01)
            with Client(f"http://127.0.0.1:{port}", key=secret[0], retries=0) as client:
                yield client, port
        finally:
            server.should_exit = True
            thread.join()


def make(path: Path, model: Encoder, rows: list[dict[str, str]] = ROWS) -> Path:
    Retriever.index(rows, path, model=model).close()
    return path


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of a few MiB of its own."""
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=3m", "none", str(disk)]
    try:
        refused = subprocess.run(command, capture_output=True, check=False).returncode
    except FileNotFoundError:
        refused = 1
    if refused:
        pytest.skip("a file system can't be mounted here")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def test_a_disk_that_is_full_loses_nothing(small_disk: Path, model: Encoder, secret: tuple[str, str]) -> None:
    path = make(small_disk / "index", model)
    added: list[str] = []
    with serving(path, model, secret) as (client, _):

        def fill() -> None:
            for n in range(200):
                client.add([{"id": f"n{n}", "text": f"a longer text of number {n} " * 200}])
                added.append(f"n{n}")

        with pytest.raises(ServerError) as refused:
            fill()
        assert refused.value.status == 507
        assert added
        assert client.search("number 7", 1)
        assert all(client.get(id) is not None for id in added)
        with pytest.raises(ServerError, match="disk is full"):
            client.add([{"id": "again", "text": "a longer text " * 2000}])
        subprocess.run(["mount", "-o", "remount,size=64m", str(small_disk)], check=True)
        client.add([{"id": "later", "text": "there is room again"}])
        assert client.get("again") is None
    with Retriever.open(path, model=model) as retriever:
        retriever.verify()
        assert {*added, "later", "d7"} <= set(retriever.ids())


def test_an_index_that_is_replaced_moved_or_damaged(
    tmp_path: Path, model: Encoder, secret: tuple[str, str]
) -> None:
    path = make(tmp_path / "index", model)
    other = make(tmp_path / "other", model, [{"id": "other", "text": "another index"}])
    with serving(path, model, secret) as (client, port):
        assert client.search("number 7", 1)
        path.rename(tmp_path / "away")
        with pytest.raises(ServerError) as gone:
            client.add([{"id": "lost", "text": "where to?"}])
        assert gone.value.status == 503
        other.rename(path)
        assert [hit.id for hit in client.search("index", 1)] == ["other"]
        shutil.rmtree(path)
        (tmp_path / "away").rename(path)
        assert client.get("d7") is not None
        for file in path.rglob("*"):  # of the same size, as a file that is cut can kill who has it mapped
            if file.is_file() and file.parent != path:
                file.write_bytes(b"\xff" * file.stat().st_size)
        (path / "index.db").write_bytes(b"\xff" * (path / "index.db").stat().st_size)
        for _ in range(3):
            with pytest.raises(ServerError) as damaged:
                client.search("number 9", 1)
            assert damaged.value.status == 503
        assert httpx.get(f"http://127.0.0.1:{port}/v1/health").status_code == 200


def test_slow_clients_and_those_that_leave_hold_nobody_up(
    tmp_path: Path, model: Encoder, secret: tuple[str, str]
) -> None:
    path = make(tmp_path / "index", model)
    body = json.dumps({"query": "number 7", "k": 20, "explain": True}).encode()
    key = f"X-API-Key: {secret[0]}\r\nContent-Type: application/json\r\n"
    head = f"POST /v1/search HTTP/1.1\r\nHost: localhost\r\n{key}Content-Length: {len(body)}\r\n\r\n".encode()
    with serving(path, model, secret, concurrency=2, waiting=100) as (client, port):
        slow = [socket.create_connection(("127.0.0.1", port)) for _ in range(30)]
        for number, one in enumerate(slow):
            if number % 3 == 0:
                one.sendall(head[:40])  # half of a request
            elif number % 3 == 1:
                one.sendall(head + body[:5])  # half of a body
            else:
                one.sendall((head + body) * 5)  # answers that nobody reads
        assert client.search("number 9", 1)
        for _ in range(40):
            with socket.create_connection(("127.0.0.1", port)) as leaving:
                leaving.sendall(head + body)
        assert client.search("number 3", 1)
        for one in slow:
            one.close()
        assert client.search("number 4", 1)


def test_files_are_uploaded_while_others_search(
    tmp_path: Path, model: Encoder, secret: tuple[str, str]
) -> None:
    path = make(tmp_path / "index", model)
    wrong: list[object] = []
    with serving(path, model, secret) as (client, port):
        done = threading.Event()

        def search() -> None:
            with Client(f"http://127.0.0.1:{port}", key=secret[0]) as own:
                while not done.is_set():
                    try:
                        if "d7" not in [hit.id for hit in own.search("text of number 7", 20)]:
                            wrong.append("d7 was not found")
                    except ServerError as error:
                        wrong.append(error)

        threads = [threading.Thread(target=search) for _ in range(3)]
        for thread in threads:
            thread.start()
        for turn in range(3):
            texts = [f"# File {number}\n\nWhat turn {turn} wrote.\n".encode() for number in range(4)]
            files = [("files", (f"file{number}.md", text)) for number, text in enumerate(texts)]
            address = f"http://127.0.0.1:{port}/v1/files"
            assert httpx.post(address, files=files, headers={"X-API-Key": secret[0]}).status_code == 200
        done.set()
        for thread in threads:
            thread.join()
        assert "What turn 2 wrote" in client.get("file3.md").text  # type: ignore[union-attr]
        assert client.count() == 24
    assert wrong == []


@pytest.mark.parametrize("seed", [0, *(pytest.param(n, marks=pytest.mark.campaign) for n in range(1, 12))])
def test_killed_while_it_writes(tmp_path: Path, model: Encoder, secret: tuple[str, str], seed: int) -> None:
    path = make(tmp_path / "index", model)
    arguments = [str(path), "--model", str(model.folder), "--writable", "--keys", secret[1], "--port", "0"]
    process = subprocess.Popen(
        [sys.executable, "-m", "lfm2_retrieval", "serve", *arguments], stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    address = process.stderr.readline().split()[-1]
    acknowledged: list[int] = []
    with Client(address, key=secret[0], retries=8) as client:
        client.count()
        threading.Timer(0.05 + 0.11 * seed, lambda: process.send_signal(signal.SIGKILL)).start()

        def write() -> None:
            for n in range(10_000):
                client.add([{"id": f"n{n}-{part}", "text": f"new {n} {part}"} for part in range(5)])
                acknowledged.append(n)

        with pytest.raises(ServerError):
            write()
    process.wait(60)
    process.stderr.close()
    with Retriever.open(path, model=model) as retriever:
        retriever.verify()
        held = set(retriever.ids())
    for n in range(len(acknowledged) + 1):
        there = sum(f"n{n}-{part}" in held for part in range(5))
        assert there == 5 if n < len(acknowledged) else there in (0, 5)
