"""What every request passes before a route: whom it names, how much it is, who asks, and how often.

Each is plain ASGI, so that a request costs no task of its own.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import socket
import time
from collections import OrderedDict
from collections.abc import Iterable, MutableMapping
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..errors import InvalidInputError
from .keys import Key, KeyFile
from .options import ServerOptions, is_loopback
from .problems import ProblemError, problem

__all__ = ["Authentication", "BodyLimit", "HostCheck", "RateLimit", "SecurityHeaders"]

log = logging.getLogger("lfm2_retrieval.server")

OPEN = frozenset({"/", "/v1/health", "/v1/ready", "/openapi.json"})
"""What needs no key: nothing of the index is told there."""
_STATIC = "/static/"
UPLOADS = "/v1/files"
_CLOSE = {"Connection": "close"}
"""What is left of a body isn't read."""

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}


class SecurityHeaders:
    """Tells browsers to run and load nothing but what the page itself brings, and to keep no answers.

    Parameters
    ----------
    app
        What answers.
    shared
        Whether pages of other origins may read answers.
    """

    def __init__(self, app: ASGIApp, *, shared: bool = False) -> None:
        self._app = app
        self._headers = dict(_HEADERS)
        if shared:
            self._headers["Cross-Origin-Resource-Policy"] = "cross-origin"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As of any ASGI application."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in self._headers.items():
                    headers[name] = value
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        await self._app(scope, receive, with_headers)


class HostCheck:
    """Refuses requests for a host that this server isn't, as DNS rebinding makes them.

    Parameters
    ----------
    app
        What answers.
    options
        Where the server listens, and as what it may be known beside.
    """

    def __init__(self, app: ASGIApp, options: ServerOptions) -> None:
        self._app = app
        self._names = {name.lower().strip("[]") for name in (*options.allowed_hosts, options.host)}
        self._any_address = not is_loopback(options.host)
        if self._any_address:
            self._names.add(socket.gethostname().lower())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As of any ASGI application."""
        if scope["type"] == "http":
            named = [value for name, value in scope["headers"] if name == b"host"]
            if len(named) != 1 or not self._is_ours(named[0].decode("latin-1")):
                detail = "the request's Host is none that this server goes by; --allow-host adds one"
                await problem(421, detail)(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _is_ours(self, host: str) -> bool:
        name = _without_port(host).lower()
        if name in self._names or is_loopback(name):
            return True
        if not self._any_address:
            return False
        try:  # a page elsewhere has a name, not an address, so that no such can be rebound
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True


def _without_port(host: str) -> str:
    if host.startswith("["):
        return host[1:].partition("]")[0]
    name, colon, port = host.rpartition(":")
    return name if colon and port.isdigit() else host


class Authentication:
    """Finds the key that a request came with, and refuses what takes one without.

    Parameters
    ----------
    app
        What answers; it finds the key in ``scope["key"]``.
    options
        Whether reading takes a key.
    keys
        Those that are good.
    """

    def __init__(self, app: ASGIApp, options: ServerOptions, keys: KeyFile) -> None:
        self._app = app
        self._needs_key = options.needs_key
        self._keys = keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As of any ASGI application."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        secret = _secret(Headers(scope=scope))
        key: Key | None = None
        if secret is not None:
            try:
                key = self._keys.find(secret)
            except (InvalidInputError, OSError) as error:
                log.error("the keys can't be read: %s", error)
                await problem(503, "the keys can't be read; the server's log says why")(scope, receive, send)
                return
            if key is None:
                await self._refuse(scope, receive, send, "this key is unknown, or was revoked")
                return
        if key is None and self._needs_key and not is_open(scope["path"]) and scope["method"] != "OPTIONS":
            await self._refuse(
                scope, receive, send, "send a key as Authorization: Bearer KEY, or X-API-Key: KEY"
            )
            return
        scope["key"] = key
        await self._app(scope, receive, send)

    @staticmethod
    async def _refuse(scope: Scope, receive: Receive, send: Send, detail: str) -> None:
        await problem(401, detail, {"WWW-Authenticate": "Bearer"})(scope, receive, send)


def is_open(path: str) -> bool:
    """Whether a path needs no key."""
    return path in OPEN or path.startswith(_STATIC)


def _secret(headers: Headers) -> str | None:
    scheme, _, secret = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return secret.strip()
    return headers.get("x-api-key")


class RateLimit:
    """So many requests a second for each client, over a minute: a bucket that refills.

    Parameters
    ----------
    app
        What answers.
    rate
        Requests a second.
    """

    _MOST = 10_000

    def __init__(self, app: ASGIApp, rate: float) -> None:
        self._app = app
        self._rate = rate
        self._burst = max(1.0, rate * 60)
        self._buckets: OrderedDict[Any, tuple[float, float]] = OrderedDict()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As of any ASGI application."""
        if scope["type"] == "http" and not is_open(scope["path"]) and (wait := self._wait(scope)) > 0:
            detail = f"more than {self._rate:g} requests a second; come back in {wait:.0f} s"
            await problem(429, detail, {"Retry-After": f"{wait:.0f}"})(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _wait(self, scope: MutableMapping[str, Any]) -> float:
        """Seconds until a client may ask again; 0: now."""
        key, client = scope.get("key"), scope.get("client")
        who = key.id if key is not None else (client[0] if client else None)
        now = time.monotonic()
        left, seen = self._buckets.pop(who, (self._burst, now))
        left = min(self._burst, left + (now - seen) * self._rate)
        self._buckets[who] = (left - 1 if left >= 1 else left, now)
        if len(self._buckets) > self._MOST:
            self._buckets.popitem(last=False)
        return 0.0 if left >= 1 else max(1.0, (1 - left) / self._rate)


class BodyLimit:
    """Takes bodies of a length and a time that are bounded.

    Parameters
    ----------
    app
        What answers.
    options
        The limits.
    """

    def __init__(self, app: ASGIApp, options: ServerOptions) -> None:
        self._app = app
        self._most = options.max_body
        self._most_uploaded = options.max_upload
        self._timeout = options.timeout

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As of any ASGI application."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        most = self._most_uploaded if scope["path"] == UPLOADS else self._most
        too_large = f"a body has {most:,} bytes at most"
        if _length(scope["headers"]) > most:
            await problem(413, too_large, _CLOSE)(scope, receive, send)
            return
        begun, deadline, n_bytes = False, time.monotonic() + self._timeout, 0

        async def limited() -> Message:
            nonlocal n_bytes
            if n_bytes < 0:  # the body is through: what comes is that the client left
                return await receive()
            try:
                message = await asyncio.wait_for(receive(), max(0.0, deadline - time.monotonic()))
            except TimeoutError:
                raise ProblemError(408, f"the body took more than {self._timeout:g} s", _CLOSE) from None
            if message["type"] == "http.request":
                n_bytes += len(message.get("body", b""))
                if n_bytes > most:
                    raise ProblemError(413, too_large, _CLOSE)
                if not message.get("more_body"):
                    n_bytes = -1
            return message

        async def noting(message: Message) -> None:
            nonlocal begun
            begun = begun or message["type"] == "http.response.start"
            await send(message)

        try:
            await self._app(scope, limited, noting)
        except ProblemError as error:  # of what isn't in a route
            if begun:
                raise
            await problem(error.status_code, error.detail, _CLOSE)(scope, receive, send)


def _length(headers: Iterable[tuple[bytes, bytes]]) -> int:
    for name, value in headers:
        if name == b"content-length" and value.isdigit():
            return int(value[:20])
    return 0
