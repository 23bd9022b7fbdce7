"""What a server counts, as Prometheus reads it."""

from __future__ import annotations

import os
import time

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["Measured", "Metrics"]

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_SECONDS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)


class Metrics:
    """Requests by route and status, their time, and what the index holds.

    Several processes add to files in the folder that ``PROMETHEUS_MULTIPROC_DIR`` names, if it is set.
    """

    content_type = "text/plain; version=0.0.4; charset=utf-8"

    def __init__(self) -> None:
        self._together = "PROMETHEUS_MULTIPROC_DIR" in os.environ
        self._registry = CollectorRegistry()
        self.requests = Counter(
            "lfm2_requests",
            "Requests by route and status.",
            ["method", "route", "status"],
            registry=self._registry,
        )
        self.seconds = Histogram(
            "lfm2_request_seconds",
            "How long requests took.",
            ["route"],
            buckets=_SECONDS,
            registry=self._registry,
        )
        self.documents = Gauge(
            "lfm2_documents",
            "Documents in the index.",
            registry=self._registry,
            multiprocess_mode="mostrecent",
        )
        self.commit = Gauge(
            "lfm2_commit", "The commit that is read.", registry=self._registry, multiprocess_mode="mostrecent"
        )

    def render(self) -> bytes:
        """All of it in Prometheus' text format."""
        registry = self._registry
        if self._together:
            registry = CollectorRegistry()
            MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        return generate_latest(registry)


class Measured:
    """Counts requests and their time.

    Parameters
    ----------
    app
        What answers.
    metrics
        Where they are counted.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As of any ASGI application."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun, status = time.perf_counter(), 500

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, noting)
        finally:
            found = scope.get("route")
            route = getattr(found, "path", "none")
            method = scope["method"] if scope["method"] in _METHODS else "other"
            self._metrics.requests.labels(method, route, str(status)).inc()
            self._metrics.seconds.labels(route).observe(time.perf_counter() - begun)
