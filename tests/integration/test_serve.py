"""``lfm2-retrieve serve`` as people run it: a process of its own."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="the extra server is not installed")

from lfm2_retrieval import Client, Retriever
from lfm2_retrieval.errors import ServerError

COMMAND = [sys.executable, "-m", "lfm2_retrieval", "serve"]


def command(*arguments: object, timeout: float = 300) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *map(str, arguments)], capture_output=True, text=True, timeout=timeout, check=False
    )


@contextmanager
def serving(*arguments: object, key: str | None = None) -> Iterator[tuple[Client, subprocess.Popen[str]]]:
    """A server on a free port, told to stop at the end, and a client of it."""
    process = subprocess.Popen(
        [*COMMAND, *map(str, arguments), "--port", "0"], stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    line = process.stderr.readline()
    found = re.search(r"http://\S+", line)
    threading.Thread(target=process.stderr.read, daemon=True).start()
    try:
        assert found, line
        with Client(found[0], key=key, retries=8) as client:
            yield client, process
    finally:
        process.terminate()
        process.wait(60)


@pytest.fixture
def path(checkpoint: Callable[..., Path], tmp_path: Path) -> Path:
    rows = [{"id": f"d{n}", "text": f"text of number {n}"} for n in range(20)]
    Retriever.index(rows, tmp_path / "index", model=checkpoint()).close()
    return tmp_path / "index"


def test_it_answers_until_it_is_told_to_stop(path: Path, checkpoint: Callable[..., Path]) -> None:
    with serving(path, "--model", checkpoint()) as (client, process):
        assert client.search("number 7", 1)
        with pytest.raises(ServerError, match="--writable"):
            client.add(["x"])
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0


def test_what_was_begun_is_finished(path: Path, checkpoint: Callable[..., Path], tmp_path: Path) -> None:
    keys = tmp_path / "keys.json"
    key = command("keys", "add", "test", "--write", "--keys", keys).stdout.strip()
    with serving(path, "--model", checkpoint(), "--writable", "--keys", keys, key=key) as (client, process):
        results: list[object] = []

        def add() -> None:
            try:
                results.append(client.add([{"id": f"n{n}", "text": f"new {n}" * 50} for n in range(150)]))
            except ServerError as error:
                results.append(error)

        thread = threading.Thread(target=add)
        client.count()
        thread.start()
        process.send_signal(signal.SIGINT)
        process.wait(60)
        thread.join()
    with Retriever.open(path, model=checkpoint()) as retriever:
        retriever.verify()
        held = sum(f"n{n}" in retriever for n in range(150))
    assert held == (150 if results == [150] else held)
    assert held in (0, 150)


def test_several_processes_serve_one_index(
    path: Path, checkpoint: Callable[..., Path], tmp_path: Path, unused_port: int
) -> None:
    keys = tmp_path / "keys.json"
    key = command("keys", "add", "test", "--write", "--keys", keys).stdout.strip()
    process = subprocess.Popen(
        [
            *COMMAND,
            *map(str, (path, "--model", checkpoint(), "--keys", keys, "--port", unused_port)),
            *("--workers", "2", "--writable"),
        ],
        stderr=subprocess.DEVNULL,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    try:
        with Client(f"http://127.0.0.1:{unused_port}", key=key, retries=12) as client:
            for n in range(6):
                client.add([{"id": f"n{n}", "text": f"new {n}"}])
                assert all(client.get(f"n{n}") is not None for _ in range(4))  # whichever answers
    finally:
        process.terminate()
        process.wait(60)


@pytest.fixture
def unused_port() -> int:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return int(bound.getsockname()[1])


def test_keys_are_made_listed_and_revoked(tmp_path: Path) -> None:
    keys = ("--keys", tmp_path / "keys.json")
    made = command("keys", "add", "laptop", *keys)
    assert made.stdout.startswith("lfm2_")
    listed = command("keys", "list", *keys).stdout
    assert "laptop" in listed
    assert made.stdout.strip() not in listed
    id = listed.split()[0]
    assert "laptop" in command("keys", "revoke", id, *keys).stdout
    assert command("keys", "list", *keys).stdout == ""
    assert command("keys", "revoke", id, *keys).returncode == 1


def test_what_cannot_be_served_is_said_at_once(path: Path, tmp_path: Path) -> None:
    keys = ("--keys", tmp_path / "none.json")
    for arguments, named in (
        ((tmp_path / "nothing",), "no index"),
        ((path, "--host", "0.0.0.0", *keys), "serve keys add"),
        ((path, "--writable", *keys), "--write"),
        ((path, "--cors", "*", *keys), "origin"),
        ((path, "--host", "192.0.2.1", *keys), ""),
    ):
        done = command(*arguments)
        assert done.returncode == 1, done.stderr
        assert named in done.stderr
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize("workers", ["1", "2"])
def test_an_address_that_cannot_be_had_is_told_with_a_remedy(path: Path, workers: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        told = command(path, "--port", port, "--workers", workers)
    assert told.returncode == 1
    assert "--port" in told.stderr
    assert len(told.stderr.strip().splitlines()) == 1
