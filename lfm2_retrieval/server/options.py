"""What a server is told when it starts."""

from __future__ import annotations

import ipaddress
import json
import re
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Self

from ..errors import InvalidInputError, InvalidTypeError, remedy

__all__ = ["ServerOptions", "is_loopback"]

_HOST = re.compile(r"[A-Za-z0-9_.:\[\]-]+")
_ORIGIN = re.compile(r"https?://[A-Za-z0-9_.:\[\]-]+")


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """How an index is served.

    Parameters
    ----------
    host, port
        Where to listen.
    writable
        Whether documents can be changed, by those who have a key with the scope ``write``.
    keys
        The file of API keys; see :class:`KeyFile`.
    allowed_hosts
        Names under which the server may be asked, beside ``host`` and those of this machine itself: another
        in a request's ``Host`` is refused, so that a page elsewhere can't reach it by a name of its own.
    cors
        Origins of pages whose scripts may read answers, such as ``https://example.org``; by default none.
    workers
        How many processes.
    rate
        How many requests a second a client may make over a minute; None for any number.
    max_body, max_upload
        Bytes of a request, and of one that uploads files.
    max_k, max_queries, max_query, max_documents
        How many hits a query gets at most, how many queries or documents a request may have, and how many
        characters a query.
    concurrency, waiting
        How many requests are worked on at once, and how many may wait for their turn; further ones are told
        to come back.
    timeout
        Seconds that a request may take, and that its body may take to arrive.
    trust_model, model, device, dtype
        See :meth:`Retriever.open <lfm2_retrieval.Retriever.open>`.
    ray, replicas, allow_partial
        Of a collection in shards: ``address`` and others of :meth:`ShardedRetriever.open
        <lfm2_retrieval.distributed.ShardedRetriever.open>`.

    Raises
    ------
    InvalidInputError
        If one can't be used.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    writable: bool = False
    keys: str | None = None
    allowed_hosts: tuple[str, ...] = ()
    cors: tuple[str, ...] = ()
    workers: int = 1
    rate: float | None = None
    max_body: int = 16 << 20
    max_upload: int = 256 << 20
    max_k: int = 1000
    max_queries: int = 64
    max_query: int = 16_384
    max_documents: int = 1000
    concurrency: int = 32
    waiting: int = 256
    timeout: float = 60.0
    trust_model: bool = False
    model: str | None = None
    device: str = "auto"
    dtype: str = "auto"
    ray: str | None = None
    replicas: int = 1
    allow_partial: bool = False

    def __post_init__(self) -> None:
        for name in (
            "workers",
            "max_body",
            "max_upload",
            "max_k",
            "max_queries",
            "max_query",
            "max_documents",
            "concurrency",
            "replicas",
        ):
            self._check_number(name, int, 1)
        self._check_number("port", int, 0, 65_535)
        self._check_number("waiting", int, 0)
        self._check_number("timeout", (int, float), 0.1)
        if self.rate is not None:
            self._check_number("rate", (int, float), 0.01)
        for name in ("allowed_hosts", "cors"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        for host in self.allowed_hosts:
            if not _HOST.fullmatch(host):
                raise InvalidInputError(f"an allowed host is a name such as search.example.org, not {host!r}")
        for origin in self.cors:
            if not _ORIGIN.fullmatch(origin):
                raise InvalidInputError(
                    f"an origin is like https://example.org, without a path, not {origin!r}"
                )

    def _check_number(self, name: str, kind: Any, least: float, most: float = float("inf")) -> None:
        value = getattr(self, name)
        if isinstance(value, bool) or not isinstance(value, kind):
            raise InvalidTypeError(f"{name} is a number, not {value!r:.80}")
        if not least <= value <= most:
            limits = f"from {least} to {most}" if most < float("inf") else f"at least {least}"
            raise InvalidInputError(f"{name} must be {limits}, not {value}")

    @property
    def needs_key(self) -> bool:
        """Whether reading needs a key, too: whenever other machines could ask."""
        return not is_loopback(self.host)

    def check_keys(self, n_readers: int, n_writers: int) -> None:
        """Refuse to start where nobody could be let in.

        Raises
        ------
        InvalidInputError
            Naming the command that makes a key.
        """
        add = "lfm2-retrieve serve keys add NAME"
        if self.needs_key and not n_readers:
            raise InvalidInputError(
                f"{self.host} can be reached from other machines, which takes a key, and there is none: make "
                f"one with {remedy(f'KeyFile(...).add(name) or {add}', add)}, or listen on 127.0.0.1"
            )
        if self.writable and not n_writers:
            raise InvalidInputError(
                "changing documents takes a key with the scope write, and there is none: make one with "
                + remedy(f"KeyFile(...).add(name, write=True) or {add} --write", f"{add} --write")
            )

    def to_json(self) -> str:
        """For another process."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """What `to_json` gave."""
        values = json.loads(text)
        return cls(**{one.name: values[one.name] for one in fields(cls)})

    @property
    def key_file(self) -> Path | None:
        """Where the keys are, if another place was named."""
        return None if self.keys is None else Path(self.keys)


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
