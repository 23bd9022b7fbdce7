"""The command ``soak``: one client writes and others search for a while; every answer is checked."""

from __future__ import annotations

import asyncio
import random
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click

from lfm2_retrieval.cli._output import print_json

from .load import Connection
from .serving import make_index, make_queries, served

__all__ = ["measure", "soak"]

_QUESTIONS = 200
_ALIVE = 200
"""So many documents of the writer are there at a time; older ones are deleted."""
_SAMPLE_SECONDS = 1.0
_SLACK = 1e-3
"""Scores of queries that are encoded together differ by less."""


@dataclass
class _Soak:
    """What is asked, what is expected, and what came."""

    port: int
    key: str
    until: float
    expected: dict[str, list[tuple[str, float]]]
    searches: int = 0
    changes: int = 0
    wrong: list[str] = field(default_factory=list)
    errors: dict[str, int] = field(default_factory=dict)
    ms: list[float] = field(default_factory=list)

    @property
    def goes_on(self) -> bool:
        return time.monotonic() < self.until

    def count(self, status: int, expected: int = 200) -> bool:
        if status != expected:
            self.errors[str(status)] = self.errors.get(str(status), 0) + 1
        return status == expected

    async def read(self, number: int) -> None:
        """Ask questions whose answers among the documents that nobody touches are known."""
        connection, dice, last = Connection(self.port, self.key), random.Random(number), 0
        questions = list(self.expected)
        while self.goes_on:
            question, began = dice.choice(questions), time.perf_counter()
            asked = {"query": question, "k": 3, "where": {"part": {"$lt": 10}}}
            status, headers, answer = await connection.ask("/v1/search", asked)
            self.ms.append((time.perf_counter() - began) * 1000)
            self.searches += 1
            if not self.count(status):
                continue
            found = [(hit["id"], hit["score"]) for hit in answer["hits"]]
            if not _agree(found, self.expected[question]):
                self.wrong.append(f"{question}: {found}, not {self.expected[question]}")
            commit = int(headers["x-commit"])
            if commit < last:
                self.wrong.append(f"commit {commit} after {last}")
            last = commit
        await connection.close()

    async def write(self) -> None:
        """Add documents and delete older ones; each is there at once, and gone at once."""
        connection, number = Connection(self.port, self.key), 0
        while self.goes_on:
            name = f"new{number}"
            row = {"id": name, "text": f"a note of {name} on the harbour", "metadata": {"part": 10}}
            status, _, _ = await connection.ask("/v1/documents", {"documents": [row]})
            if self.count(status):
                await self._expect(connection, name, 200)
            if number >= _ALIVE:
                old = f"new{number - _ALIVE}"
                status, _, _ = await connection.ask(f"/v1/documents/{old}", method="DELETE")
                if self.count(status):
                    await self._expect(connection, old, 404)
            self.changes += 1
            number += 1
        await connection.close()

    async def _expect(self, connection: Connection, name: str, expected: int) -> None:
        status, _, _ = await connection.ask(f"/v1/documents/{name}", method="GET")
        if status != expected:
            self.wrong.append(f"{name}: {status}, not {expected}")


def _agree(found: list[tuple[str, float]], expected: list[tuple[str, float]]) -> bool:
    """Whether hits are the expected ones; those of nearly one score may change places."""
    if len(found) != len(expected):
        return False
    scores = dict(expected)
    last = expected[-1][1]
    return all(
        abs(score - wanted) < _SLACK and (id in scores or score < last + _SLACK)
        for (id, score), (_, wanted) in zip(found, expected, strict=True)
    )


def measure(
    n_passages: int, n_readers: int, seconds: float, on_progress: Callable[[str], None] = lambda step: None
) -> dict[str, Any]:
    """Let one write and others search; what was wrong, and how the server's memory grew."""
    from lfm2_retrieval.server import KeyFile

    with tempfile.TemporaryDirectory() as home:
        path, keys = Path(home) / "index", Path(home) / "keys.json"
        key, _ = KeyFile(keys).add("soak", write=True)
        on_progress(f"an index of {n_passages:,} passages")
        make_index(path, n_passages).close()
        with served(path, "--writable", "--keys", str(keys)) as (port, pid):
            expected = asyncio.run(_expected(port, key))
            on_progress(f"{n_readers} clients read and one writes for {seconds:g} s")
            run = _Soak(port, key, time.monotonic() + seconds, expected)
            memory = asyncio.run(_run(run, pid, n_readers))
    quarter = max(1, len(memory) // 4)
    times = sorted(run.ms)
    return {
        "seconds": seconds,
        "passages": n_passages,
        "readers": n_readers,
        "searches": run.searches,
        "changes": run.changes,
        "errors": run.errors,
        "wrong": run.wrong[:20],
        "n_wrong": len(run.wrong),
        "p50_ms": round(times[len(times) // 2], 2),
        "p99_ms": round(times[len(times) * 99 // 100], 2),
        "mib_in_the_second_quarter": round(max(memory[quarter : 2 * quarter] or memory)),
        "mib_in_the_last_quarter": round(max(memory[-quarter:])),
    }


async def _expected(port: int, key: str) -> dict[str, list[tuple[str, float]]]:
    connection = Connection(port, key)
    found = {}
    for question in make_queries(_QUESTIONS, 5):
        _, _, answer = await connection.ask("/v1/search", {"query": question, "k": 3})
        found[question] = [(hit["id"], hit["score"]) for hit in answer["hits"]]
    await connection.close()
    return found


async def _run(run: _Soak, pid: int, n_readers: int) -> list[float]:
    memory: list[float] = []

    async def sample() -> None:
        while run.goes_on:
            memory.append(_resident_mib(pid))
            await asyncio.sleep(_SAMPLE_SECONDS)

    await asyncio.gather(sample(), run.write(), *(run.read(number) for number in range(n_readers)))
    return memory


def _resident_mib(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text("utf-8").splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) / 1024
    return 0.0


@click.command("soak")
@click.option("--passages", type=click.IntRange(min=100), default=20_000, show_default=True, help="How many.")
@click.option("--readers", type=click.IntRange(min=1), default=16, show_default=True, help="Who search.")
@click.option("--seconds", type=click.FloatRange(min=1), default=600, show_default=True, help="How long.")
@click.option("--json", "json_", is_flag=True, help="Print the report as a JSON object.")
def soak(passages: int, readers: int, seconds: float, json_: bool) -> None:
    """Let one client write to a server while others search, and check each answer, and the memory.

    Questions have known answers among documents that nobody touches; what is written is read at once. Exit
    code 1 where anything was wrong.
    """
    report = measure(passages, readers, seconds, lambda step: click.echo(step, err=True))
    if json_:
        print_json(report)
    else:
        for name, value in report.items():
            click.echo(f"{name.replace('_', ' ')}: {value}")
    if report["errors"] or report["n_wrong"]:
        raise click.exceptions.Exit(1)
