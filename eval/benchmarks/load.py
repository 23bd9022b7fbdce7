"""Clients of a server, in a process of their own, which reads what to do from its standard input.

Each client keeps one connection and asks its next query when the last is answered. It imports nothing of the
library, so that what it takes of the machine is small.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any

__all__ = ["Connection", "load"]


class Connection:
    """One connection to a server, kept from request to request.

    Parameters
    ----------
    port
        Of this machine.
    key
        An API key; empty for none.
    """

    def __init__(self, port: int, key: str = "") -> None:
        self._port = port
        self._key = f"X-API-Key: {key}\r\n" if key else ""
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, path: str, body: Any = None, method: str = "POST") -> tuple[int, dict[str, str], Any]:
        """Status, headers (names in small letters) and JSON of an answer."""
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port)
        reader, writer = self._streams
        data = b"" if body is None else json.dumps(body).encode()
        head = (
            f"{method} {path} HTTP/1.1\r\nHost: localhost\r\n{self._key}"
            f"Content-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
        )
        writer.write(head.encode("ascii") + data)
        lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        pairs = (line.split(":", 1) for line in lines[1:] if line)
        headers = {name.strip().lower(): value.strip() for name, value in pairs}
        answer = await reader.readexactly(int(headers.get("content-length", 0)))
        if headers.get("connection", "").lower() == "close":
            await self.close()
        return int(lines[0].split()[1]), headers, json.loads(answer) if answer else None

    async def close(self) -> None:
        """Close it."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


async def load(port: int, queries: list[str], n_clients: int, k: int) -> dict[str, Any]:
    """Ask all queries once, by so many clients at a time; milliseconds of each, and errors by status."""
    left = iter(queries)
    times: list[float] = []
    errors: dict[str, int] = {}

    async def client() -> None:
        connection = Connection(port)
        for query in left:
            began = time.perf_counter()
            status, _, _ = await connection.ask("/v1/search", {"query": query, "k": k})
            if status == 200:
                times.append((time.perf_counter() - began) * 1000)
            else:
                errors[str(status)] = errors.get(str(status), 0) + 1
        await connection.close()

    began, processor = time.perf_counter(), time.process_time()
    await asyncio.gather(*(client() for _ in range(n_clients)))
    seconds = time.perf_counter() - began
    return {
        "ms": times,
        "errors": errors,
        "seconds": seconds,
        "processor_seconds": time.process_time() - processor,
    }


if __name__ == "__main__":
    asked = json.load(sys.stdin)
    json.dump(asyncio.run(load(**asked)), sys.stdout)
