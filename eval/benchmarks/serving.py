"""The command ``serving``: searches of a server by many clients and by one, beside `Retriever.search`."""

from __future__ import annotations

import http.client
import itertools
import json
import os
import random
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from lfm2_retrieval.cli._output import print_json

from .syncing import WORDS

if TYPE_CHECKING:
    from lfm2_retrieval import Retriever

__all__ = ["make_index", "make_queries", "measure", "served", "serving"]

_TEXTS = 500
"""So many texts are encoded; passages are made of their halves, so that an index of any size costs little."""
_PER_TEXT = 24
_AT_ONCE = 2000
_TURN = 25


def make_index(path: Path, n_passages: int, seed: int = 0) -> Retriever:
    """An index of made-up passages of 24 words, of nano's vectors; half of one text, half of another."""
    from lfm2_retrieval import Retriever
    from lfm2_retrieval.datatypes import TokenEmbeddings

    dice = random.Random(seed)
    texts = [" ".join(dice.choices(WORDS, k=_PER_TEXT)) for _ in range(min(_TEXTS, n_passages))]
    retriever = Retriever.index([], path, model="nano")
    vectors = list(retriever.encoder.encode_documents(texts, output="float16"))
    pairs = itertools.islice(_pairs(dice, len(texts)), n_passages)
    for first in range(0, n_passages, _AT_ONCE):
        some = list(itertools.islice(pairs, _AT_ONCE))
        halves = [np.vstack((_half(vectors[one], 0), _half(vectors[two], 1))) for one, two in some]
        offsets = np.cumsum([0, *map(len, halves)])
        retriever.store.add(
            [str(first + number) for number in range(len(some))],
            TokenEmbeddings(np.vstack(halves), offsets),
            [f"{' '.join(texts[one].split()[:12])} {' '.join(texts[two].split()[12:])}" for one, two in some],
            [{"part": number % 10} for number in range(len(some))],
        )
    return retriever


def _pairs(dice: random.Random, n: int) -> Iterator[tuple[int, int]]:
    while True:
        yield dice.randrange(n), dice.randrange(n)


def _half(vectors: Any, which: int) -> Any:
    middle = len(vectors) // 2
    return vectors[middle:] if which else vectors[:middle]


def make_queries(n: int, seed: int) -> list[str]:
    """Questions of which none comes twice."""
    dice = random.Random(seed)
    found: dict[str, None] = {}
    while len(found) < n:
        found[f"what of {' '.join(dice.choices(WORDS, k=4))} {dice.randrange(10_000)}?"] = None
    return list(found)


@contextmanager
def served(path: Path, *options: str) -> Iterator[tuple[int, int]]:
    """A server on an index, as the command starts it: its port, and its process.

    Raises
    ------
    RuntimeError
        If it doesn't start.
    """
    with socket.socket() as free:  # 0 would be another port for each of several processes
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    arguments = ["serve", str(path), "--port", str(port), *options]
    program = "from lfm2_retrieval.cli import main; main()"
    server = subprocess.Popen([sys.executable, "-c", program, *arguments], stderr=subprocess.PIPE, text=True)
    try:
        line = server.stderr.readline() if server.stderr is not None else ""
        if "http://" not in line:
            raise RuntimeError(f"the server did not start: {line}")
        _wait_for(port)
        yield port, server.pid
    finally:
        server.terminate()
        server.wait(60)
        if server.stderr is not None:
            server.stderr.close()


def _wait_for(port: int, seconds: float = 60.0) -> None:
    """Wait until a server answers, when its model is loaded."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port)
            connection.request("GET", "/v1/ready")
            connection.getresponse().read()
            connection.close()
            return
        except (ConnectionRefusedError, ConnectionResetError):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def processor_seconds(pid: int) -> float:
    """What a process and its children that live have used so far."""
    total = 0.0
    for process in (pid, *map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text("utf-8").split())):
        fields = Path(f"/proc/{process}/stat").read_text("utf-8").rpartition(")")[2].split()
        total += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return total


def measure(
    n_passages: int,
    n_clients: int,
    n_queries: int,
    *,
    k: int = 10,
    workers: int = 1,
    on_progress: Callable[[str], None] = lambda step: None,
) -> dict[str, Any]:
    """Searches a second with many clients, and how much longer a lone one waits than `Retriever.search`."""
    with TemporaryDirectory() as home:
        path = Path(home) / "index"
        on_progress(f"an index of {n_passages:,} passages")
        options = ("--workers", str(workers))
        with make_index(path, n_passages) as retriever, served(path, *options) as (port, pid):
            report: dict[str, Any] = {
                "passages": n_passages,
                "clients": n_clients,
                "workers": workers,
                "queries": n_queries,
                "k": k,
            }
            report["load_average"] = os.getloadavg()[0]
            _load(port, make_queries(50 * workers, 1), n_clients, k)  # warms it up
            on_progress(f"{n_queries:,} queries by {n_clients} clients")
            before = processor_seconds(pid)
            loaded = _load(port, make_queries(n_queries, 2), n_clients, k)
            used = processor_seconds(pid) - before
            report["many"] = {
                "searches_per_second": round(len(loaded["ms"]) / loaded["seconds"], 1),
                **_percentiles(loaded["ms"]),
                "errors": loaded["errors"],
                "server_processor_ms": round(1000 * used / n_queries, 2),
                "clients_processor_ms": round(1000 * loaded["processor_seconds"] / n_queries, 2),
            }
            on_progress("one client beside Retriever.search, in turns")
            report["lone"] = _lone(retriever, port, pid, k, max(100, n_queries // 4))
    return report


def _load(port: int, queries: list[str], n_clients: int, k: int) -> Any:
    asked = {"port": port, "queries": queries, "n_clients": n_clients, "k": k}
    done = subprocess.run(
        [sys.executable, "-m", "eval.benchmarks.load"],
        input=json.dumps(asked),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


def _lone(retriever: Retriever, port: int, pid: int, k: int, n: int) -> dict[str, Any]:
    """Turns of some queries each, by a connection that is kept and by a call; each query once."""
    connection = http.client.HTTPConnection("127.0.0.1", port)
    by_server: list[float] = []
    by_call: list[float] = []
    queries = iter(make_queries(2 * n + 20, 3))
    for query in itertools.islice(queries, 10):
        retriever.search(query, k)
    served_before, own_seconds = processor_seconds(pid), 0.0
    for _ in range(-(-n // _TURN)):
        for query in itertools.islice(queries, _TURN):
            body = json.dumps({"query": query, "k": k})
            began = time.perf_counter()
            connection.request("POST", "/v1/search", body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            answer.read()
            by_server.append((time.perf_counter() - began) * 1000)
        own = time.process_time()
        for query in itertools.islice(queries, _TURN):
            began = time.perf_counter()
            retriever.search(query, k)
            by_call.append((time.perf_counter() - began) * 1000)
        own_seconds += time.process_time() - own
    connection.close()
    server, call = statistics.median(by_server), statistics.median(by_call)
    return {
        "server_p50_ms": round(server, 2),
        "call_p50_ms": round(call, 2),
        "above_ms": round(server - call, 2),
        "server_processor_ms": round(1000 * (processor_seconds(pid) - served_before) / len(by_server), 2),
        "call_processor_ms": round(1000 * own_seconds / len(by_call), 2),
    }


def _percentiles(values: list[float]) -> dict[str, float]:
    return {f"p{one}_ms": round(float(np.percentile(values, one)), 2) for one in (50, 95, 99)}


@click.command("serving")
@click.option("--passages", type=click.IntRange(min=100), default=20_000, show_default=True, help="How many.")
@click.option("--clients", type=click.IntRange(min=1), default=16, show_default=True, help="At once.")
@click.option(
    "--queries", type=click.IntRange(min=20), default=2000, show_default=True, help="By all of them."
)
@click.option("-k", type=click.IntRange(min=1), default=10, show_default=True, help="Hits a query.")
@click.option("--workers", type=click.IntRange(min=1), default=1, show_default=True, help="Of the server.")
@click.option("--json", "json_", is_flag=True, help="Print the report as a JSON object.")
def serving(  # noqa: PLR0917  (options)
    passages: int, clients: int, queries: int, k: int, workers: int, json_: bool
) -> None:
    """Measure a server on an index made for it: many clients, and one beside Retriever.search, in turns.

    Passages are of 24 made-up words, with nano's vectors, put together from halves of 500 encoded texts; no
    query comes twice. Clients run in a process of their own on the same machine.
    """
    report = measure(
        passages,
        clients,
        queries,
        k=k,
        workers=workers,
        on_progress=lambda step: click.echo(step, err=True),
    )
    if json_:
        print_json(report)
        return
    many, lone = report["many"], report["lone"]
    click.echo(
        f"{clients} clients, {workers} workers: {many['searches_per_second']:,} searches/s, "
        f"p50 {many['p50_ms']} ms, p99 {many['p99_ms']} ms, {many['server_processor_ms']} ms of processor "
        f"time each, errors {many['errors'] or 'none'}\n"
        f"one client: p50 {lone['server_p50_ms']} ms, {lone['above_ms']} ms above Retriever.search "
        f"({lone['server_processor_ms']} and {lone['call_processor_ms']} ms of processor time)\n"
        f"load average at the beginning: {report['load_average']:.1f}"
    )
