"""Requests to a server; whatever goes wrong, and whoever answers, errors are the library's own."""

from __future__ import annotations

import ipaddress
import json
import math
import os
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, TypeVar

from .errors import (
    DuplicateIdError,
    InvalidInputError,
    InvalidTypeError,
    MissingExtraError,
    RetrievalError,
    ServerError,
    UnknownIdError,
)
from .json_values import plain

if TYPE_CHECKING:
    import httpx

__all__ = ["Connection", "encoded"]

T = TypeVar("T")

_LONGEST_WAIT = 10.0
_OURS = "urn:lfm2-retrieval:"


class Connection:
    """A server's address and a key for it; any threads, and forked processes, may share it.

    Parameters
    ----------
    url
        Where the server is.
    key
        The API key, if it takes one.
    timeout
        Seconds that a request may take.
    retries
        How often what changes nothing is asked again where the server is busy.

    Raises
    ------
    MissingExtraError
        If ``httpx`` isn't installed.
    InvalidInputError
        If one can't be used.
    """

    def __init__(self, url: str, key: str | None, timeout: float, retries: int) -> None:
        try:
            import httpx
        except ModuleNotFoundError as error:
            raise MissingExtraError("the client", "client") from error
        if isinstance(timeout, bool) or not isinstance(timeout, (int, float)) or not 0 < timeout < math.inf:
            raise InvalidInputError(f"timeout is a number of seconds, more than 0, not {timeout!r:.80}")
        if isinstance(retries, bool) or not isinstance(retries, int) or retries < 0:
            raise InvalidInputError(f"retries is a whole number, at least 0, not {retries!r:.80}")
        self.url, self._is_here = _checked(url)
        self._headers = {"Content-Type": "application/json", **_authorization(key)}
        self._timeout, self._retries = timeout, retries
        self._errors, self._unsent = httpx.HTTPError, httpx.ConnectError
        self._closed = False
        self._http, self._process = self._opened(), os.getpid()

    def ask(
        self,
        method: str,
        route: str,
        body: Mapping[str, Any] | None,
        read: Callable[[Any], T],
        *,
        safe: bool = True,
    ) -> T:
        """What a route answers; a busy server is asked again, unless the request changes something.

        Parameters
        ----------
        method, route, body
            The request.
        read
            Makes of the values that are answered what is wanted.
        safe
            Whether it changes nothing.

        Raises
        ------
        InvalidInputError
            If the body is no JSON, or the server doesn't take it.
        ServerError
            If the server doesn't answer, or not as one of this library.
        """
        content = None if body is None else encoded(body)
        for attempt in range(self._retries + 1):
            last = attempt == self._retries
            try:
                answer = self._client().request(method, f"/v1/{route}", content=content)
            except self._errors as error:
                if not last and (safe or isinstance(error, self._unsent)):
                    time.sleep(min(0.1 * 2**attempt, _LONGEST_WAIT))
                    continue
                raise ServerError(
                    f"{self.url} doesn't answer ({type(error).__name__}: {error}): is it running?"
                ) from error
            if answer.status_code in (429, 503) and safe and not last:
                time.sleep(_wait(answer.headers.get("retry-after"), 0.1 * 2**attempt))
                continue
            return self._read(answer, read)
        raise AssertionError

    def close(self) -> None:
        """Close the connections."""
        self._closed = True
        if self._process == os.getpid():
            self._http.close()

    def _client(self) -> httpx.Client:
        if self._closed:
            raise InvalidInputError("this client is closed: make another one")
        if self._process != os.getpid():  # two processes on one connection would take each other's answers
            self._http, self._process = self._opened(), os.getpid()
        return self._http

    def _opened(self) -> httpx.Client:
        import httpx

        # Proxies that the environment names are for other machines, also where it doesn't say so.
        transport = httpx.HTTPTransport() if self._is_here else None
        try:
            return httpx.Client(
                base_url=self.url, headers=self._headers, timeout=self._timeout, transport=transport
            )
        except (ImportError, ValueError) as error:
            raise InvalidInputError(f"the proxy that the environment names can't be used: {error}") from error

    def _read(self, answer: httpx.Response, read: Callable[[Any], T]) -> T:
        try:
            values = json.loads(answer.content)
            if answer.is_success:
                return read(values)
            ours = str(values["type"]).startswith(_OURS)
            detail = str(values["detail"])
        except RetrievalError:
            raise
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
            ours = False
        if not ours:
            raise ServerError(
                f"{self.url} answers {answer.status_code}, and not as a server of this library: is it one?",
                None if answer.is_success else answer.status_code,
            )
        raise _error(self.url, answer.status_code, values["type"].removeprefix(_OURS), detail)


def encoded(values: Any) -> bytes:
    """Values as JSON; those of NumPy, dates and sets as documents have them.

    Raises
    ------
    InvalidInputError
        If there is no JSON for them, such as NaN.
    """
    try:
        text = json.dumps(values, ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=plain)
    except RetrievalError:
        raise
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidInputError(f"a value can't be sent as JSON: {error}") from error
    try:
        return text.encode()
    except UnicodeEncodeError:  # half a character, which is escaped
        return json.dumps(values, allow_nan=False, separators=(",", ":"), default=plain).encode()


def _checked(url: Any) -> tuple[str, bool]:
    """The address of a server, and whether that is this machine."""
    import httpx

    if not isinstance(url, str):
        raise InvalidTypeError(f"the URL of a server is a str, not {type(url).__name__}")
    try:
        parsed = httpx.URL(url.strip())
        host, port = parsed.host, parsed.port
    except (httpx.InvalidURL, ValueError) as error:
        raise InvalidInputError(f"{url!r:.200} is no URL: {error}") from error
    if parsed.scheme not in ("http", "https") or not host:
        raise InvalidInputError(
            f"the URL of a server begins with http:// or https://, as http://localhost:8000, not {url!r:.200}"
        )
    if parsed.query or parsed.fragment or ("%" in host and ":" not in host) or not 0 < (port or 80) <= 65_535:
        raise InvalidInputError(f"the URL of a server has a host, maybe a port and a path, not {url!r:.200}")
    try:
        is_here = host.lower() == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        is_here = False
    return str(parsed).rstrip("/"), is_here


def _authorization(key: Any) -> dict[str, str]:
    if key is not None and not isinstance(key, str):
        raise InvalidTypeError(f"a key is a str, not {type(key).__name__}")
    key = (key or "").strip()
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise InvalidInputError(
            "a key has only letters, digits, - and _, as lfm2-retrieve serve keys add shows it"
        )
    return {"Authorization": f"Bearer {key}"} if key else {}


def _wait(asked: str | None, default: float) -> float:
    """Seconds that a server asks to wait, within reason."""
    if asked is None:
        return default
    try:
        seconds = (
            float(asked)
            if asked.isdigit()
            else (parsedate_to_datetime(asked) - datetime.now(UTC)).total_seconds()
        )
    except (ValueError, TypeError, OverflowError):
        return default
    return min(max(seconds, 0.0), _LONGEST_WAIT)


def _error(url: str, status: int, kind: str, detail: str) -> Exception:
    """The library's own error for a problem."""
    if status == 409:
        return DuplicateIdError(detail)
    if kind == "not-found":
        return UnknownIdError(detail)
    if status in (400, 413, 415, 422):
        return InvalidInputError(detail)
    if kind in ("no-such-address", "method-not-allowed"):
        detail = "it changes nothing: serve it with --writable"
    return ServerError(f"{url}: {detail}", status)
