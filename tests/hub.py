"""A hub on this machine: answers what huggingface_hub's client asks of the real one, from folders."""

from __future__ import annotations

import hashlib
import json
import os
import re
import socket
import struct
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import unquote, urlsplit

_LFS = (".parquet", ".safetensors", ".bin", ".pt", ".pkl")
_PAGE = 3
"""Entries of a listing that one answer holds: so few that a client has to turn pages."""


@dataclass
class Fault:
    """What goes wrong with a file's transfer.

    ``kind`` "close" and "reset" end the connection, "corrupt" changes a byte, "truncate" declares and gives
    less, "503" refuses; ``times`` it happens so often.
    """

    kind: str
    times: int = 1


@dataclass
class Repository:
    """One commit: ``files`` lie below ``folder``."""

    folder: Path
    commit: str

    def path(self, name: str) -> Path | None:
        path = self.folder / name
        return path if path.is_file() and path.resolve().is_relative_to(self.folder.resolve()) else None

    def names(self) -> list[str]:
        return sorted(p.relative_to(self.folder).as_posix() for p in self.folder.rglob("*") if p.is_file())


@dataclass
class Request:
    """What was asked, and how it was answered."""

    method: str
    path: str
    range: str | None
    status: int = 0


@dataclass
class FakeHub:
    """A server at 127.0.0.1, a context manager.

    Attributes
    ----------
    requests
        All that came, in order.
    faults
        The end of a file's name → what goes wrong with it.
    """

    requests: list[Request] = field(default_factory=list)
    faults: dict[str, Fault] = field(default_factory=dict)
    _repositories: dict[tuple[str, str, str], Repository] = field(default_factory=dict)

    def add(self, kind: str, name: str, folder: Path, commit: str, *, main: bool = True) -> None:
        """Serve a folder as a commit of a repository: ``kind`` "models" or "datasets"."""
        repository = Repository(folder, commit)
        for revision in (commit, *(("main",) if main else ())):
            self._repositories[kind, name, revision] = repository

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def url_of_contents(self) -> str:
        """Where large files lie: another host, as with the hub, whose headers a client has to take."""
        return self.url.replace("127.0.0.1", "localhost")

    @property
    def fetched(self) -> set[str]:
        """The files whose contents were given, by their paths in their repositories."""
        return {
            request.path
            for request in self.requests
            if request.method == "GET" and request.status in (200, 206)
        }

    def __enter__(self) -> Self:
        class Handler(_Handler):
            hub = self

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    def environment(self, home: Path, **variables: str) -> dict[str, str]:
        """The variables of a process whose hub is this one, and whose caches are its own."""
        return {
            **{name: value for name, value in os.environ.items() if not name.startswith("HF_")},
            "HF_ENDPOINT": self.url,
            "HF_HOME": str(home),
            "HF_HUB_OFFLINE": "0",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "NO_PROXY": "127.0.0.1,localhost",
            **variables,
        }

    def run(self, code: str, home: Path, *arguments: str, **variables: str) -> Any:
        """Run Python in such a process: what it prints last is JSON."""
        done = subprocess.run(
            [sys.executable, "-c", code, *arguments],
            env=self.environment(home, **variables),
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])


class _Handler(BaseHTTPRequestHandler):
    hub: FakeHub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        parts = urlsplit(self.path)
        path = unquote(parts.path)
        self.request_ = Request(self.command, path, self.headers.get("Range"))
        self.hub.requests.append(self.request_)
        if match := re.fullmatch(r"/api/(models|datasets)/([^/]+/[^/]+)/(revision|tree)/([^/]+)", path):
            self._describe(*match.groups(), parts.query)
        elif match := re.fullmatch(r"/(datasets/)?([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            self._resolve("datasets" if match[1] else "models", match[2], match[3], match[4])
        elif match := re.fullmatch(r"/cdn/(models|datasets)/([^/]+/[^/]+)/([^/]+)/(.+)", path):
            self._send_file(*match.groups())
        else:
            self._refuse(404, "RepoNotFound")

    def _repository(self, kind: str, name: str, revision: str) -> Repository | None:
        repository = self.hub._repositories.get((kind, name, revision))
        if repository is None:
            known = any(key[:2] == (kind, name) for key in self.hub._repositories)
            self._refuse(404 if known else 401, "RevisionNotFound" if known else "RepoNotFound")
        return repository

    def _describe(self, kind: str, name: str, what: str, revision: str, query: str) -> None:
        if (repository := self._repository(kind, name, revision)) is None:
            return
        names = repository.names()
        if what == "revision":
            siblings = [{"rfilename": one} for one in names]
            self._send_json({"id": name, "sha": repository.commit, "private": False, "siblings": siblings})
            return
        start = int(match[1]) if (match := re.search(r"cursor=(\d+)", query)) else 0
        entries = [_entry(repository.folder / one, one) for one in names]
        following = urlsplit(self.path).path + f"?recursive=True&cursor={start + _PAGE}"
        link = {"Link": f'<{self.hub.url}{following}>; rel="next"'} if start + _PAGE < len(names) else {}
        self._send_json(entries[start : start + _PAGE], link)

    def _resolve(self, kind: str, name: str, revision: str, file: str) -> None:
        if (repository := self._repository(kind, name, revision)) is None:
            return
        if (path := repository.path(file)) is None:
            self._refuse(404, "EntryNotFound", {"X-Repo-Commit": repository.commit})
        elif not file.endswith(_LFS):
            self._send_file(kind, name, revision, file)
        else:  # as the hub has it: elsewhere, with its size and its SHA-256
            self.request_.status = 302
            self.send_response(302)
            self.send_header("Location", f"{self.hub.url_of_contents}/cdn/{kind}/{name}/{revision}/{file}")
            self.send_header("X-Repo-Commit", repository.commit)
            self.send_header("X-Linked-Size", str(path.stat().st_size))
            self.send_header("X-Linked-ETag", f'"{_sha256(path.read_bytes())}"')
            self.send_header("Content-Length", "0")
            self.end_headers()

    def _send_file(self, kind: str, name: str, revision: str, file: str) -> None:
        repository = self.hub._repositories[kind, name, revision]
        data = (repository.folder / file).read_bytes()
        tag = _sha256(data) if file.endswith(_LFS) else _git_sha1(data)
        fault = self._fault(file)
        if fault == "503":
            self._refuse(503, "")
            return
        if fault == "corrupt":
            data = data[: len(data) // 2] + bytes([data[len(data) // 2] ^ 1]) + data[len(data) // 2 + 1 :]
        if fault == "truncate":
            data = data[: len(data) // 2]
        start = int(match[1]) if (match := re.fullmatch(r"bytes=(\d+)-", self.request_.range or "")) else 0
        self.request_.status = 206 if start else 200
        self.send_response(self.request_.status)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("X-Repo-Commit", repository.commit)
        self.send_header("ETag", f'"{tag}"')
        self.send_header("Content-Length", str(len(data) - start))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        self.end_headers()
        if self.command == "HEAD":
            return
        if fault in ("close", "reset"):
            self.wfile.write(data[start : start + (len(data) - start) // 2])
            self._hang_up(reset=fault == "reset")
        else:
            self.wfile.write(data[start:])

    def _fault(self, file: str) -> str | None:
        for end, fault in self.hub.faults.items():
            if file.endswith(end) and self.command == "GET" and fault.times > 0:
                fault.times -= 1
                return fault.kind
        return None

    def _hang_up(self, *, reset: bool) -> None:
        self.wfile.flush()
        if reset:  # no farewell: what the client hasn't read is lost, and reading is an error
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        if not reset:
            self.connection.shutdown(socket.SHUT_RDWR)
        self.connection.close()

    def _send_json(self, value: Any, headers: dict[str, str] | None = None) -> None:
        self._send(200, json.dumps(value).encode(), {"Content-Type": "application/json", **(headers or {})})

    def _refuse(self, status: int, code: str, headers: dict[str, str] | None = None) -> None:
        named = {"X-Error-Code": code} if code else {}
        self._send(status, b"{}", {**named, "X-Error-Message": code, **(headers or {})})

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.request_.status = status
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def _entry(path: Path, name: str) -> dict[str, Any]:
    data = path.read_bytes()
    entry: dict[str, Any] = {"type": "file", "path": name, "size": len(data), "oid": _git_sha1(data)}
    if name.endswith(_LFS):
        entry["lfs"] = {"oid": _sha256(data), "size": len(data), "pointerSize": 130}
    return entry


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _git_sha1(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
