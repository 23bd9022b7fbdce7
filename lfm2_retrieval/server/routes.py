"""The routes under ``/v1``."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from fastapi import APIRouter, Depends, File, Query, Request, UploadFile
from fastapi import Path as InPath
from pydantic import BaseModel
from starlette.responses import Response

from .answers import Json
from .keys import Key
from .metrics import Metrics
from .options import ServerOptions
from .problems import ProblemError, documented
from .schemas import (
    AddRequest,
    ChangeAnswer,
    CountAnswer,
    CountRequest,
    DeleteAnswer,
    DeleteRequest,
    DocumentAnswer,
    DocumentsAnswer,
    EmbeddingsAnswer,
    EmbeddingsRequest,
    GetAnswer,
    GetRequest,
    Health,
    IndexAnswer,
    ListRequest,
    PassagesAnswer,
    PassagesRequest,
    RerankAnswer,
    RerankRequest,
    SearchAnswer,
    SearchRequest,
    UpdateRequest,
)
from .service import Service, read_where
from .work import Work

__all__ = ["routes"]


def routes(service: Callable[[], Service], work: Work, options: ServerOptions, metrics: Metrics) -> APIRouter:
    """All routes, on a service that is there once the application has started."""
    router = APIRouter(prefix="/v1", default_response_class=Json)
    _add_posted(router, service, work, writing=False)
    _add_documents(router, service, work, options)
    _add_operations(router, service, work, metrics)
    if options.writable:
        _add_posted(router, service, work, writing=True)
        _add_writing(router, service, work)
    return router


async def _json_only(request: Request) -> None:
    """Refuse bodies of forms: a page elsewhere could send such unasked."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise ProblemError(415, f"send application/json, not {kind[:80] or 'a body without a type'}")


async def _writer(request: Request) -> None:
    """Let only those change documents whose key may."""
    key: Key | None = request.scope.get("key")
    if key is None:
        raise ProblemError(401, "changing documents takes a key", {"WWW-Authenticate": "Bearer"})
    if not key.write:
        raise ProblemError(403, "this key may only read; lfm2-retrieve serve keys add NAME --write makes one")


JSON = Depends(_json_only)
WRITER = Depends(_writer)


class _Posted(NamedTuple):
    """A route that hands its body to a method of the service."""

    path: str
    method: str
    body: type[BaseModel]
    answer: type[BaseModel]
    tells: str
    statuses: tuple[int, ...] = ()
    verb: str = "POST"


_READING = (
    _Posted(
        "/search",
        "search",
        SearchRequest,
        SearchAnswer,
        "Find the best documents for a query, or for several.",
    ),
    _Posted(
        "/rerank",
        "rerank",
        RerankRequest,
        RerankAnswer,
        "Put texts in the order in which they answer a query, as Cohere's and Jina's rerankers do.",
    ),
    _Posted(
        "/passages",
        "passages",
        PassagesRequest,
        PassagesAnswer,
        "Find where in a document a query is answered.",
        (404,),
    ),
    _Posted(
        "/embeddings",
        "embeddings",
        EmbeddingsRequest,
        EmbeddingsAnswer,
        "Encode queries or documents into one vector a token.",
    ),
    _Posted(
        "/list", "documents", ListRequest, DocumentsAnswer, "List documents, with filters of any length."
    ),
    _Posted("/get", "get", GetRequest, GetAnswer, "Give several documents."),
    _Posted("/count", "count", CountRequest, CountAnswer, "Count documents."),
)
_WRITING = (
    _Posted("/documents", "add", AddRequest, ChangeAnswer, "Add documents, in one commit."),
    _Posted(
        "/documents",
        "update",
        UpdateRequest,
        ChangeAnswer,
        "Change documents, in one commit.",
        (404,),
        "PATCH",
    ),
    _Posted(
        "/delete",
        "delete",
        DeleteRequest,
        DeleteAnswer,
        "Delete documents by id or by filter, in one commit.",
        (404,),
    ),
)


def _add_posted(router: APIRouter, service: Callable[[], Service], work: Work, *, writing: bool) -> None:
    """The routes of the table of those that read, or of those that write."""
    for route in _WRITING if writing else _READING:
        router.add_api_route(
            route.path,
            _posted(route, service, work, writing=writing),
            methods=[route.verb],
            response_model=route.answer,
            responses=documented(415, 500, *((409, 507) if writing else ()), *route.statuses),
            dependencies=[JSON, WRITER] if writing else [JSON],
            tags=["changes" if writing else "search"],
        )


def _posted(
    route: _Posted, service: Callable[[], Service], work: Work, *, writing: bool
) -> Callable[..., Awaitable[Json]]:
    run: Callable[..., Awaitable[dict[str, Any]]] = work.write if writing else work.read

    async def endpoint(asked: Any) -> Json:
        one = service()
        tags = one.tags()
        values = await run(lambda: getattr(one, route.method)(asked))
        return Json(values, headers=one.tags() if writing else tags)

    endpoint.__name__, endpoint.__doc__ = route.method, route.tells
    endpoint.__annotations__ = {"asked": route.body, "return": Json}
    return endpoint


def _add_documents(
    router: APIRouter, service: Callable[[], Service], work: Work, options: ServerOptions
) -> None:
    @router.get("/index", response_model=IndexAnswer, responses=documented(500), tags=["documents"])
    async def index(request: Request) -> Json:
        """Tell what the index holds."""
        one, key = service(), request.scope.get("key")
        writable = options.writable and key is not None and key.write
        tags = one.tags()
        return Json(await work.read(lambda: one.describe(writable=writable)), headers=tags)

    @router.get(
        "/documents",
        response_model=DocumentsAnswer,
        responses=documented(500) | {304: {"description": "Nothing has changed"}},
        tags=["documents"],
    )
    async def documents(
        request: Request,
        limit: Annotated[int, Query(ge=1, le=1000, description="How many at most.")] = 50,
        cursor: Annotated[str | None, Query(description="next_cursor of the page before.")] = None,
        where: Annotated[str | None, Query(description="A filter, in JSON or as SQL's words.")] = None,
    ) -> Response:
        """List documents in order of insertion, a page at a time."""
        one, asked = service(), ListRequest(limit=limit, cursor=cursor, where=read_where(where))
        tags = one.tags()
        if _unchanged(request, tags):
            return Response(status_code=304, headers=tags)
        return Json(await work.read(lambda: one.documents(asked)), headers=tags)

    @router.get(
        "/documents/{id:path}",
        response_model=DocumentAnswer,
        responses=documented(404, 500) | {304: {"description": "Nothing has changed"}},
        tags=["documents"],
    )
    async def document(
        request: Request, id: Annotated[str, InPath(description="Percent-encoded.")]
    ) -> Response:
        """Give a document."""
        one = service()
        tags = one.tags()
        if _unchanged(request, tags):
            return Response(status_code=304, headers=tags)
        return Json(await work.read(lambda: one.document(id)), headers=tags)


def _add_operations(router: APIRouter, service: Callable[[], Service], work: Work, metrics: Metrics) -> None:
    @router.get("/health", response_model=Health, responses=documented(500), tags=["operations"])
    async def health() -> Json:
        """Tell that the process is alive."""
        return Json({"status": "alive"})

    @router.get("/ready", response_model=Health, responses=documented(500), tags=["operations"])
    async def ready() -> Json:
        """Tell that the index can be searched; 503 where it can't."""
        await work.read(service().ready)
        return Json({"status": "ready"})

    @router.get(
        "/metrics",
        responses=documented(500) | {200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
        response_class=Response,
        tags=["operations"],
    )
    async def metrics_(request: Request) -> Response:
        """Tell what Prometheus reads."""
        one = service()
        try:
            metrics.documents.set(len(one.retriever))
            metrics.commit.set(one.commit)
        except Exception:  # noqa: BLE001  (what else is counted is wanted the more when the index is gone)
            pass
        return Response(await asyncio.to_thread(metrics.render), media_type=metrics.content_type)


def _add_writing(router: APIRouter, service: Callable[[], Service], work: Work) -> None:
    @router.delete(
        "/documents/{id:path}",
        response_model=DeleteAnswer,
        responses=documented(404, 500, 507),
        dependencies=[WRITER],
        tags=["changes"],
    )
    async def delete(id: Annotated[str, InPath(description="Percent-encoded.")]) -> Json:
        """Delete a document."""
        one = service()
        values = await work.write(lambda: one.delete_one(id))
        return Json(values, headers=one.tags())

    @router.post(
        "/files",
        response_model=ChangeAnswer,
        responses=documented(409, 415, 500, 501, 507),
        dependencies=[WRITER],
        tags=["changes"],
    )
    async def files(files: Annotated[list[UploadFile], File(description="Files to read.")]) -> Json:
        """Read files as ``lfm2-retrieve index`` does.

        Documents replace those under their ids: names of files, and of rows in tables. Rows that a table
        doesn't have any more stay.
        """
        one = service()
        with tempfile.TemporaryDirectory(prefix="lfm2-upload-") as folder:
            paths = [await _keep(file, Path(folder)) for file in files]
            values = await work.write(lambda: one.add_files(paths))
        return Json(values, headers=one.tags())


async def _keep(file: UploadFile, folder: Path) -> tuple[Path, str]:
    """An uploaded file under its own name, of which nothing is left that could lead elsewhere."""
    name = (file.filename or "").encode("utf-8", "replace").decode()  # forms choose how names are read
    name = name.replace("\\", "/").rpartition("/")[2].strip()
    if name in ("", ".", "..") or "\0" in name or len(name.encode()) > 200:
        raise ProblemError(422, "an uploaded file needs a name of up to 200 bytes")
    path = folder / name
    if path.exists():
        raise ProblemError(422, f"two uploaded files have the name {name[:80]!r}")
    with path.open("xb") as out:
        while chunk := await file.read(1 << 20):
            await asyncio.to_thread(out.write, chunk)
    return path, name


def _unchanged(request: Request, tags: dict[str, str]) -> bool:
    """Whether the client has what it asks for: the address is the same, and so is the commit."""
    asked = request.headers.get("if-none-match")
    return asked is not None and tags["ETag"] in [one.strip() for one in asked.split(",")]
