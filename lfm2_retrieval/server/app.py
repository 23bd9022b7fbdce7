"""The application: what every request passes, the routes, and the page."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware

from .. import __version__
from ..distributed.manifest import is_manifest
from ..retriever import Retriever
from ..retriever.reading import ReadingRetriever
from .guard import Authentication, BodyLimit, HostCheck, RateLimit, SecurityHeaders
from .keys import KeyFile
from .metrics import Measured, Metrics
from .options import ServerOptions
from .page import page_routes
from .problems import Problem, install
from .routes import routes
from .service import Service
from .work import Work

__all__ = ["create_app"]

_ABOUT = """Search in an index by late interaction. Errors are problem details (RFC 9457). Every answer about
the index names the commit that it is of, in `ETag` and `X-Commit`."""


def create_app(
    index: str | os.PathLike[str] | ReadingRetriever, options: ServerOptions | None = None
) -> FastAPI:
    """An ASGI application on an index.

    Parameters
    ----------
    index
        The path of an index, or of a collection in shards, opened when the application starts and closed when
        it ends; or an open retriever, which is left to its owner.
    options
        How it is served.

    Raises
    ------
    InvalidInputError
        If a key is needed and there is none.
    """
    options = options or ServerOptions()
    keys = KeyFile(options.key_file)
    known = keys.known()
    options.check_keys(len(known), sum(key.write for key in known))
    holder: dict[str, Service] = {}
    work = Work(options)
    metrics = Metrics()

    @asynccontextmanager
    async def life(app: FastAPI) -> AsyncIterator[None]:
        owned = not isinstance(index, ReadingRetriever)
        retriever = index if isinstance(index, ReadingRetriever) else _open(index, options)
        holder["service"] = Service(retriever, options)
        await work.read(holder["service"].warm)
        try:
            yield
        finally:
            work.close()  # what was begun is seen through
            if owned:
                retriever.close()

    app = FastAPI(
        title="lfm2-retrieval",
        version=__version__,
        description=_ABOUT,
        lifespan=life,
        docs_url=None,  # both load scripts from elsewhere
        redoc_url=None,
        redirect_slashes=False,  # no address has two forms
        separate_input_output_schemas=False,
    )
    install(app)
    app.include_router(routes(lambda: holder["service"], work, options, metrics))
    app.include_router(page_routes())
    _document(app)
    for middleware in _middlewares(options, keys, metrics):  # the last one added is the first one passed
        app.add_middleware(middleware)
    return app


def _open(index: str | os.PathLike[str], options: ServerOptions) -> ReadingRetriever:
    model: dict[str, Any] = {
        name: getattr(options, name) for name in ("model", "trust_model", "device", "dtype")
    }
    if not is_manifest(index):
        return Retriever.open(Path(index), **model, auto_refresh=True)
    from ..distributed import ShardedRetriever

    return ShardedRetriever.open(
        index,
        address=options.ray,
        replicas=options.replicas,
        allow_partial=options.allow_partial,
        **model,
        auto_refresh=True,
    )


def _middlewares(options: ServerOptions, keys: KeyFile, metrics: Metrics) -> list[Callable[..., Any]]:
    """From the innermost."""
    found: list[Callable[..., Any]] = [partial(GZipMiddleware, minimum_size=1024, compresslevel=5)]
    found.append(partial(BodyLimit, options=options))
    if options.rate is not None:
        found.append(partial(RateLimit, rate=options.rate))
    found.append(partial(Authentication, options=options, keys=keys))
    if options.cors:
        found.append(
            partial(
                CORSMiddleware,
                allow_origins=options.cors,
                allow_methods=["GET", "POST", "PATCH", "DELETE"],
                allow_headers=["Authorization", "Content-Type", "X-API-Key", "If-None-Match"],
                expose_headers=["ETag", "X-Commit", "Retry-After"],
            )
        )
    found.append(partial(HostCheck, options=options))
    found.append(partial(SecurityHeaders, shared=bool(options.cors)))
    found.append(partial(Measured, metrics=metrics))
    return found


def _document(app: FastAPI) -> None:
    """Put problems and keys into the OpenAPI, in the place of FastAPI's own errors."""
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        schema = generate()
        components = schema.setdefault("components", {})
        schemas = components.setdefault("schemas", {})
        schemas.pop("HTTPValidationError", None)
        schemas.pop("ValidationError", None)
        schemas["Problem"] = Problem.model_json_schema()
        components["securitySchemes"] = {
            "key": {"type": "http", "scheme": "bearer"},
            "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
        }
        schema["security"] = [{}, {"key": []}, {"header": []}]
        return schema

    app.openapi = openapi  # type: ignore[method-assign]
